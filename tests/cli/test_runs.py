"""``abstractruntime runs`` and ``events`` over a real database; the test takes the steps."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers.client import Client


def go_on(pump: Pump, client: Client, run_id: str, status: str) -> None:
    """Sweep and take steps until the run has this status."""

    def done() -> bool:
        pump.sweep()
        pump.run()
        return client.get(run_id).status.value == status

    eventually(done, timeout=10, message=f"{run_id} is {status}")


@pytest.fixture
def asking(command: Command, pump: Pump, client: Client) -> str:
    run_id = command("runs", "start", "question", "--vars", '{"amount": 5}').stdout.strip()
    go_on(pump, client, run_id, "waiting")
    return run_id


def test_start_prints_the_id_and_needs_no_broker(command: Command, client: Client) -> None:
    began = time.monotonic()
    result = command("runs", "start", "plain", "--run-id", "mine", "--session-id", "s", "--actor-id", "a")
    assert result.exit_code == 0
    assert result.stdout == "mine\n"
    assert time.monotonic() - began < 5
    run = client.get("mine")
    assert (run.workflow_id, run.session_id, run.actor_id) == ("plain", "s", "a")
    assert command("runs", "start", "plain", "--run-id", "mine").stdout == "mine\n"
    other = command("runs", "start", "plain", "--run-id", "mine", "--vars", '{"other": 1}')
    assert other.exit_code == 1
    assert "mine" in other.stderr


def test_vars_come_from_text_file_or_stdin(command: Command, client: Client, tmp_path: Path) -> None:
    (tmp_path / "vars.json").write_text('{"from": "file"}', encoding="utf-8")
    command("runs", "start", "plain", "--run-id", "a", "--vars", "@vars.json")
    command("runs", "start", "plain", "--run-id", "b", "--vars", "-", input='{"from": "stdin"}')
    assert client.get("a").vars["from"] == "file"
    assert client.get("b").vars["from"] == "stdin"


def test_list_and_its_filters(command: Command, asking: str) -> None:
    command("runs", "start", "plain", "--run-id", "other")
    lines = command("runs", "list").stdout.splitlines()
    assert lines[0].split()[:3] == ["RUN", "WORKFLOW", "STATUS"]
    assert {line.split()[0] for line in lines[1:]} == {asking, "other"}
    assert f"user user:{asking}:ask" in "\n".join(lines)
    for filters, found in (
        (["--status", "waiting"], [asking]),
        (["--wait-reason", "user"], [asking]),
        (["--workflow", "plain"], ["other"]),
        (["--parent", "nobody"], []),
        (["--limit", "1"], ["other"]),
    ):
        listed = json.loads(command("runs", "list", "--json", *filters).stdout)
        assert [run["run_id"] for run in listed] == found
    assert command("runs", "list", "--status", "failed").stdout == "no runs\n"


def test_show_says_what_a_run_waits_for(command: Command, asking: str) -> None:
    text = command("runs", "show", asking).stdout
    assert f'user user:{asking}:ask "Really?"' in text
    assert '"amount": 5' in text
    assert json.loads(command("runs", "show", "--json", asking).stdout)["waiting"]["prompt"] == "Really?"


def test_respond_ledger_and_wait(command: Command, pump: Pump, client: Client, asking: str) -> None:
    assert command("runs", "respond", asking, '{"text": "yes"}').stdout == f"{asking} running\n"
    go_on(pump, client, asking, "completed")
    result = command("runs", "wait", asking)
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"answer": {"text": "yes"}}
    lines = command("runs", "ledger", asking).stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3", "4", "5"]
    assert "ask_user" in lines[1]
    tail = json.loads(command("runs", "ledger", asking, "--after", "3", "--json").stdout)
    assert [entry["seq"] for entry in tail] == [4, 5]


def test_respond_and_resume_refuse_what_does_not_wait_for_them(
    command: Command, pump: Pump, client: Client, asking: str
) -> None:
    wrong = command("runs", "resume", asking, "{}", "--wait-key", "other")
    assert wrong.exit_code == 1
    assert "wait_key mismatch" in wrong.stderr
    command("runs", "start", "listener", "--run-id", "ear")
    go_on(pump, client, "ear", "waiting")
    assert command("runs", "respond", "ear", "{}").exit_code == 1
    assert command("runs", "resume", "ear", '"knock"').exit_code == 0
    go_on(pump, client, "ear", "completed")
    assert client.get("ear").output == {"answer": "knock"}


def test_respond_allows_tool_calls(command: Command, pump: Pump, client: Client) -> None:
    command("runs", "start", "careful", "--run-id", "mine")
    go_on(pump, client, "mine", "waiting")
    assert "approval_required: send" in command("runs", "show", "mine").stdout
    shown = json.loads(command("runs", "show", "--json", "mine").stdout)["waiting"]["details"]["tool_calls"]
    assert [(call["name"], call["arguments"]) for call in shown] == [("send", {"to": "bob"})]
    given = {"call_id": shown[0]["call_id"], "name": "send", "success": True, "output": "sent", "error": None}
    answer = json.dumps({"results": [given]})
    assert command("runs", "respond", "mine", answer).stdout == "mine running\n"
    go_on(pump, client, "mine", "completed")
    results = json.loads(command("runs", "wait", "mine").stdout)["answer"]["results"]
    assert [(each["name"], each["success"]) for each in results] == [("send", True), ("erase", False)]


def test_pause_unpause_and_cancel(command: Command, client: Client) -> None:
    command("runs", "start", "plain", "--run-id", "mine")
    assert command("runs", "pause", "mine", "--reason", "lunch").stdout == "mine waiting\n"
    assert command("runs", "unpause", "mine").stdout == "mine running\n"
    assert command("runs", "cancel", "mine", "--reason", "changed my mind").stdout == "mine cancelled\n"
    result = command("runs", "wait", "mine")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: run mine cancelled at node 'done'")


def test_a_failed_run_says_why_and_can_be_retried(command: Command, pump: Pump, client: Client) -> None:
    command("runs", "start", "bad", "--run-id", "mine")
    go_on(pump, client, "mine", "failed")
    result = command("runs", "wait", "mine")
    assert result.exit_code == 1
    assert result.stderr == "error: run mine failed at node 'fail': row 7: amount is missing\n"
    assert "row 7: amount is missing" in command("runs", "ledger", "mine").stdout
    assert command("runs", "retry", "mine").stdout == "mine running\n"


def test_wait_has_a_time_out(command: Command, asking: str) -> None:
    result = command("runs", "wait", asking, "--timeout", "0.1")
    assert result.exit_code == 1
    assert result.stderr == f"error: Run '{asking}' is waiting after 0.1 s\n"


def test_an_event_wakes_once_is_kept_and_known_again(command: Command, pump: Pump, client: Client) -> None:
    command("runs", "start", "listener", "--run-id", "ear")
    go_on(pump, client, "ear", "waiting")
    args = ["events", "emit", "--wait-key", "door", "--payload", '{"who": "it"}', "--event-id"]
    assert command(*args, "e1").stdout == "e1 resumed ear\n"
    assert command(*args, "e1").stdout == "e1 known already: nothing changed\n"
    assert command(*args, "e2").stdout == "e2 kept: nobody waits for it yet\n"
    go_on(pump, client, "ear", "completed")
    assert client.get("ear").output == {"answer": {"who": "it"}}


def test_the_folders_fleet_is_found(
    command: Command, client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from workers.embedded import FleetRecord

    command("runs", "start", "plain", "--run-id", "mine")
    folder = tmp_path / ".abstractruntime"
    folder.mkdir()
    FleetRecord("tests.cli.flows:app", client.settings.database_url, "redis://127.0.0.1:1/0", 1).write(folder)
    for name in ("DATABASE_URL", "REDIS_URL", "ABSTRACTRUNTIME_APP"):
        monkeypatch.delenv(name)
    assert "mine" in command("runs", "list").stdout
    assert command("runs", "start", "plain", "--run-id", "yours").exit_code == 0
