"""Bad input gets one line that says what is wrong, and exit code 1 (2 for usage); never a traceback."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Command

UNREACHABLE = "postgresql://nobody:secret@127.0.0.1:1/none"

BAD = [
    (["runs", "start", "nothing"], "nothing"),
    (["runs", "start", "plain", "--vars", "{not json"], "--vars is not JSON: "),
    (["runs", "start", "plain", "--vars", "[1]"], "--vars must be a JSON object like {...}, not a list"),
    (["runs", "start", "plain", "--vars", "7"], "--vars must be a JSON object like {...}, not a number"),
    (["runs", "start", "plain", "--vars", "@nowhere.json"], "--vars: can't read nowhere.json: "),
    (["runs", "start", "plain", "--app", "no_such_module:app"], "App 'no_such_module:app' can't be imported"),
    (["runs", "start", "plain", "--app", "tests.cli.flows:nothing"], "can't be imported: AttributeError"),
    (
        ["runs", "start", "plain", "--app", "tests.cli.flows:not_an_app"],
        "is a int, not an abstractruntime.App",
    ),
    (["runs", "start", "plain", "--app", "flows"], "is not of the form module:attribute"),
    (["runs", "show", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "ledger", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "resume", "unknown-run", "{}"], "Unknown run_id: unknown-run"),
    (["runs", "respond", "unknown-run", "{}"], "Unknown run_id: unknown-run"),
    (["runs", "respond", "unknown-run", "yes"], "PAYLOAD is not JSON: "),
    (["runs", "cancel", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "pause", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "unpause", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "retry", "unknown-run"], "Unknown run_id: unknown-run"),
    (["runs", "wait", "unknown-run"], "Unknown run_id: unknown-run"),
    (["events", "emit"], "requires a non-empty name"),
    (["events", "emit", "paid", "--scope", "galaxy"], "galaxy"),
    (["events", "emit", "paid", "--payload", "{"], "--payload is not JSON: "),
    (["runs", "list", "--database-url", "mysql://host/name"], "DATABASE_URL"),
    (["runs", "list", "--database-url", UNREACHABLE], "127.0.0.1"),
    (["runs", "list", "--database-url", "sqlite:///nowhere/runs.db"], "There is no database at "),
    (["migrate", "--database-url", UNREACHABLE], "127.0.0.1"),
    (["runs", "start", "plain", "--redis-url", "http://host"], "REDIS_URL"),
    (["worker", "ticks", "--app", "no_such_module:app"], "can't be imported"),
    (["dev", "--app", "no_such_module:app"], "can't be imported"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=[" ".join(args)[:60] for args, _ in BAD])
def test_one_line_says_what_is_wrong(command: Command, database: str, args: list[str], message: str) -> None:
    result = command(*args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert "secret" not in result.stderr


USAGE = [
    ["nonsense"],
    ["runs", "show"],
    ["runs", "start", "plain", "--nonsense"],
    ["runs", "list", "--status", "asleep"],
    ["runs", "list", "--limit", "0"],
    ["worker", "everything"],
    ["dev", "--port", "99999"],
    ["demo", "--claims", "0"],
]


@pytest.mark.parametrize("args", USAGE, ids=[" ".join(args) for args in USAGE])
def test_wrong_usage_is_exit_code_2(command: Command, args: list[str]) -> None:
    result = command(*args)
    assert result.exit_code == 2
    assert "Traceback" not in result.output


def test_without_a_database_nothing_is_created(command: Command, tmp_path: Path) -> None:
    result = command("runs", "list")
    assert result.exit_code == 1
    assert "There is no database at" in result.stderr
    assert "abstractruntime dev" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_another_schema_is_told_to_migrate(command: Command, tmp_path: Path) -> None:
    (tmp_path / "old.db").touch()
    result = command("runs", "list", "--database-url", f"sqlite:///{tmp_path / 'old.db'}")
    assert result.exit_code == 1
    assert "run 'abstractruntime migrate'" in result.stderr


def test_no_app_says_how_to_give_one(
    command: Command, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ABSTRACTRUNTIME_APP")
    result = command("runs", "start", "plain")
    assert result.exit_code == 1
    assert "pass --app module:attribute or set ABSTRACTRUNTIME_APP" in result.stderr


def test_a_port_in_use_is_named(command: Command) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = command("dev", "--app", "tests.cli.flows:app", "--port", str(port))
    assert result.exit_code == 1
    assert f"127.0.0.1:{port}: the port is in use" in result.stderr
    assert result.stderr.count("\n") == 1
