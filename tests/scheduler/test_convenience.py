"""Everything wired together (`spec/02 §12`, §14), and the README's quick start."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    NoRetryPolicy,
    RunStatus,
    ScheduledRuntime,
    WorkflowRegistry,
    create_scheduled_runtime,
)
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.times import to_iso
from tests.poll import eventually

from .flows import listener, long_one, question, timer

QUICK_START = """
from abstractruntime import create_scheduled_runtime

sr = create_scheduled_runtime()
run_id, state = sr.run(my_workflow)

if state.status.value == "waiting":
    state = sr.respond(run_id, {"text": "yes"})

sr.stop()
"""


def test_the_quick_start() -> None:
    names: dict[str, Any] = {"my_workflow": question()}
    exec(QUICK_START, names)
    assert names["state"].output == {"out": {"text": "yes"}}
    assert not names["sr"].is_running


PERSISTENT = """
from abstractruntime import create_scheduled_runtime, JsonFileRunStore, JsonlLedgerStore

sr = create_scheduled_runtime(
    run_store=JsonFileRunStore("./data"),
    ledger_store=JsonlLedgerStore("./data"),
)
"""

PERSISTENT_SQLITE = """
from abstractruntime import create_scheduled_runtime, SqliteDatabase, SqliteLedgerStore, SqliteRunStore

db = SqliteDatabase("./data/runs.sqlite3")
sr = create_scheduled_runtime(run_store=SqliteRunStore(db), ledger_store=SqliteLedgerStore(db))
"""

FIRST_PROCESS = """
from datetime import datetime, timedelta, timezone
from tests.scheduler.flows import question, timer

asked, state = sr.run(question())
assert state.status.value == "waiting"
until = (datetime.now(timezone.utc) + timedelta(seconds=0.5)).isoformat()
timed, state = sr.run(timer(until))
assert state.status.value == "waiting"
print(asked, timed, flush=True)
import os
os._exit(9)
"""

SECOND_PROCESS = """
import sys
from tests.poll import eventually
from tests.scheduler.flows import question, timer

asked, timed = sys.argv[1:]
for workflow in (question(), timer("2026-01-01T00:00:00Z")):
    sr.registry.register(workflow)
state = sr.respond(asked, {"text": "yes"})
assert state.output == {"out": {"text": "yes"}}, state
eventually(lambda: sr.get_state(timed).status.value == "completed")
statuses = [record["status"] for record in sr.get_ledger(asked)]
assert statuses[:3] == ["started", "waiting", "completed"], statuses
sr.stop()
print("done", flush=True)
"""


@pytest.mark.parametrize("quick_start", [PERSISTENT, PERSISTENT_SQLITE], ids=["files", "sqlite"])
def test_the_persistent_quick_start_with_a_restart_in_between(tmp_path: Path, quick_start: str) -> None:
    """The first process dies with a question and a timer open; the second one goes on."""

    def process(rest: str, *arguments: str, returns: int) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", quick_start + rest, *arguments]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert ended.returncode == returns, ended.stderr
        return ended.stdout.split()

    open_runs = process(FIRST_PROCESS, returns=9)
    assert process(SECOND_PROCESS, *open_runs, returns=0) == ["done"]


def test_a_short_timer_on_the_real_clock(open_stores: Callable[[], tuple[Any, Any]]) -> None:
    runs, ledger = open_stores()
    with create_scheduled_runtime(run_store=runs, ledger_store=ledger, poll_interval_s=0.05) as sr:
        until = to_iso(datetime.now(timezone.utc) + timedelta(seconds=0.1))
        run_id, state = sr.run(timer(until))
        was_early = state.status is RunStatus.WAITING  # a busy machine may be later than the timer
        eventually(lambda: sr.get_state(run_id).status is RunStatus.COMPLETED, timeout=5)
        assert sr.stats.runs_resumed == was_early
    assert not sr.is_running


@pytest.fixture
def sr(open_stores: Callable[[], tuple[Any, Any]]) -> ScheduledRuntime:
    runs, ledger = open_stores()
    return create_scheduled_runtime(run_store=runs, ledger_store=ledger, auto_start=False)


def test_what_respond_refuses(sr: ScheduledRuntime) -> None:
    with pytest.raises(KeyError):
        sr.respond("nobody", {})
    run_id, _ = sr.run(long_one(1))
    with pytest.raises(ValueError, match=rf"^Run '{run_id}' is not waiting \(status=completed\)$"):
        sr.respond(run_id, {})
    run_id, _ = sr.run(timer("2999-01-01T00:00:00Z"))
    with pytest.raises(ValueError, match=f"^Run '{run_id}' has no wait_key$"):
        sr.respond(run_id, {})


def test_session_events_and_the_rest_pass_through(sr: ScheduledRuntime) -> None:
    run_id = sr.start(workflow=listener(), vars={"a": 1}, actor_id="me", session_id="s")
    assert sr.get_state(run_id).status is RunStatus.RUNNING
    assert sr.tick(run_id).status is RunStatus.WAITING
    assert (sr.get_state(run_id).actor_id, sr.get_state(run_id).session_id) == ("me", "s")
    assert [run.run_id for run in sr.find_waiting_runs()] == [run_id]
    (state,) = sr.emit_event(name="go", payload={"x": 1}, session_id="s")
    assert state.status is RunStatus.COMPLETED
    assert sr.get_ledger(run_id)
    other, _ = sr.run(listener(), session_id="s")
    assert sr.resume_event(run_id=other, wait_key="evt:session:s:go", payload={}).is_terminal
    third, _ = sr.run(listener(), session_id="s")
    assert sr.cancel_run(third).status is RunStatus.CANCELLED
    assert sr.cancel_with_children("nobody") == []
    assert sr.resume_subworkflow_parent(child_run_id="nobody", child_output={}) is None
    with pytest.raises(KeyError):
        sr.cancel_run("nobody")
    sr.registry.unregister("listener")
    with pytest.raises(KeyError, match="Workflow 'listener' is not registered"):
        sr.tick(third)


def test_start_and_stop(sr: ScheduledRuntime) -> None:
    assert not sr.is_running
    sr.start_scheduler()
    sr.start_scheduler()
    assert sr.is_running
    sr.stop()
    assert not sr.is_running


def test_what_it_is_given_it_uses() -> None:
    artifacts, policy, config = object(), NoRetryPolicy(), RuntimeConfig(max_iterations=3)
    sr = create_scheduled_runtime(
        artifact_store=artifacts,
        effect_policy=policy,
        config=config,
        workflows=[question()],
        max_errors_kept=0,
        auto_start=False,
    )
    assert sr.runtime.artifact_store is artifacts
    assert sr.runtime.effect_policy is policy
    assert sr.runtime.config is config
    assert sr.runtime.workflow_registry is sr.registry
    assert sr.registry.list_ids() == ["question"]
    with pytest.raises(ValueError, match="Workflow 'question' is already registered"):
        create_scheduled_runtime(workflows=[question(), question()], auto_start=False)


def test_another_workflow_under_a_known_id_is_warned_about(
    sr: ScheduledRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = question(), question()
    sr.run(first)
    sr.run(first)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        sr.run(second)
    assert "'question'" in caplog.text
    assert sr.registry.get("question") is first


def test_registry() -> None:
    registry = WorkflowRegistry()
    assert not registry
    assert registry.get("a") is None
    spec = question("a")
    registry.register(spec)
    registry.register(question("b"))
    assert (len(registry), "a" in registry, "c" in registry) == (2, True, False)
    assert registry.list_ids() == ["a", "b"]
    assert registry.get("a") is spec
    assert registry.get_or_raise("a") is spec
    with pytest.raises(ValueError, match=r"Workflow 'a' is already registered.*unregister\(\)"):
        registry.register(spec)
    registry.unregister("a")
    with pytest.raises(KeyError, match="Workflow 'a' is not registered"):
        registry.unregister("a")
    with pytest.raises(KeyError, match=r"Workflow 'a' is not registered.*before starting the scheduler"):
        registry.get_or_raise("a")
