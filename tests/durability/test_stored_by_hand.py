"""A folder and a SQLite file written by hand in the contract's stored form open and go on (`spec/01 §18`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan, utc_now_iso
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from .old_data import LEDGERS, LITERAL_KEY, LLM, RUNS, TRACE_STEP
from .places import KINDS
from .stored_form import (
    check_record,
    check_run,
    key_of,
    read_files,
    read_sqlite,
    write_files,
    write_sqlite,
)


def _llm(node: str, payload: dict[str, Any]) -> Callable[[RunState, RunContext], StepPlan]:
    return lambda run, context: StepPlan(node, Effect(EffectType.LLM_CALL, payload, "got"), "done")


def _done(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("done", complete_output={"got": run.vars.get("got")})


OLD = WorkflowSpec(
    "old",
    "call",
    {
        "call": _llm("call", LLM),
        "node-1": _llm("node-1", {"prompt": "test"}),
        "ring": lambda run, context: StepPlan("ring", Effect(EffectType.EMIT_EVENT, dict(run.vars["event"]))),
        "done": _done,
    },
)


@dataclass
class Opened:
    """The hand-written data through our stores."""

    place: Path
    kind: str
    runtime: Runtime
    called: list[str] = field(default_factory=list)

    def tick(self, run_id: str) -> RunState:
        return self.runtime.tick(workflow=OLD, run_id=run_id)

    def resume(self, run_id: str, wait_key: str | None, payload: Any) -> RunState:
        return self.runtime.resume(workflow=OLD, run_id=run_id, wait_key=wait_key, payload=payload)

    def ring(self, **event: Any) -> RunState:
        ring = WorkflowSpec("ring", "ring", OLD.nodes)
        run_id = self.runtime.start(workflow=ring, vars={"event": event}, session_id="s1")
        return self.runtime.tick(workflow=ring, run_id=run_id)

    def read(self) -> tuple[dict[str, Any], dict[str, list[Any]]]:
        """What is stored now, with the strict reader."""
        return read_files(self.place) if self.kind == "files" else read_sqlite(self.place / "runs.sqlite3")


@pytest.fixture(params=KINDS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    kind, place = str(request.param), tmp_path / "old"
    called: list[str] = []
    database: SqliteDatabase | None = None

    def model(run: RunState, effect: Effect) -> EffectOutcome:
        called.append(run.run_id)
        return EffectOutcome.completed({"content": "neu"})

    if kind == "files":
        write_files(place, deepcopy(RUNS), deepcopy(LEDGERS))
        runs: Any = JsonFileRunStore(place)
        ledger: Any = JsonlLedgerStore(place)
    else:
        write_sqlite(place / "runs.sqlite3", deepcopy(RUNS), deepcopy(LEDGERS))
        database = SqliteDatabase(place / "runs.sqlite3")
        runs, ledger = SqliteRunStore(database), SqliteLedgerStore(database)
    runtime = Runtime(
        run_store=runs,
        ledger_store=ledger,
        effect_handlers={EffectType.LLM_CALL: model},
        workflow_registry={"old": OLD},
    )
    yield Opened(place, kind, runtime, called)
    if database is not None:
        database.close()


def ids(runs: list[RunState]) -> set[str]:
    return {run.run_id for run in runs}


def test_everything_is_listed(old: Opened) -> None:
    store = old.runtime.run_store
    assert ids(store.list_runs(limit=1000)) == {run["run_id"] for run in RUNS}
    assert {row["run_id"] for row in store.list_run_index(session_id="s1", limit=1000)} == {
        run["run_id"] for run in RUNS
    }
    assert ids(store.list_children(parent_run_id="w-sub")) == {"child-1"}
    for run_id, records in LEDGERS.items():
        assert old.runtime.get_ledger(run_id) == records
        assert old.runtime.ledger_store.count(run_id) == len(records)


@pytest.mark.parametrize(
    ("run_id", "wait_key"),
    [
        ("w-user", "user:w-user:ask"),
        ("w-event", "evt:session:s1:bell"),
        ("w-job", "tool_calls:w-job:call"),
        ("extra", "user:extra:ask"),
    ],
)
def test_waits_are_resumed(old: Opened, run_id: str, wait_key: str) -> None:
    with pytest.raises(ValueError, match=f"wait_key mismatch: expected '{wait_key}', got 'other'"):
        old.resume(run_id, "other", 1)
    payload = {"mode": "executed", "results": []} if run_id == "w-job" else {"text": "ja"}
    assert old.resume(run_id, wait_key, payload).output == {"got": payload}


def test_a_wait_of_which_only_the_reason_is_stored(old: Opened) -> None:
    waiting = old.runtime.get_state("no-free-text").waiting
    assert waiting is not None
    assert waiting.allow_free_text is True
    assert old.resume("no-free-text", "any", 5).output == {"success": True, "result": 5}


def test_events_reach_old_listeners(old: Opened) -> None:
    output = old.ring(name="bell", max_steps=5).output
    assert output is not None
    assert output["result"]["delivered_to"] == ["w-event"]
    output = old.ring(name="anything", scope="global", max_steps=5).output
    assert output is not None
    assert output["result"]["delivered_to"] == ["w-global"]
    for run_id in ("w-event", "w-global"):
        assert old.runtime.get_state(run_id).status == "completed"


def test_a_parent_gets_its_child(old: Opened) -> None:
    child = old.tick("child-1")
    payload = {"sub_run_id": "child-1", "output": child.output}
    assert old.resume("w-sub", "subworkflow:child-1", payload).output == {"got": payload}


@pytest.mark.weakness("spec/02 S-9")
@pytest.mark.parametrize("run_id", ["u-plain", "u-z", "u-naive", "u-east", "u-west"])
def test_timers_fire_whatever_their_offset(old: Opened, run_id: str) -> None:
    assert run_id in ids(old.runtime.run_store.list_due_wait_until(now_iso=utc_now_iso()))
    output = old.tick(run_id).output
    assert output is not None
    assert output["got"]["ready"] is True
    assert run_id not in ids(old.runtime.run_store.list_due_wait_until(now_iso=utc_now_iso()))


@pytest.mark.weakness("spec/02 S-9")
def test_due_runs_are_found_by_the_moment_not_by_the_text(old: Opened) -> None:
    """By schedulers, that is: `list_due_wait_until` compares text, as the contract says."""

    def found(now: str) -> list[str]:
        due = old.runtime.run_store.list_due(now_iso=now)
        return [run.run_id for run in due if run.run_id in ("u-east", "u-west")]

    assert found("2025-06-30T19:29:59+00:00") == []
    assert found("2025-06-30T19:30:00.000000+00:00") == ["u-east"]
    assert found("2025-06-30T19:59:59+00:00") == ["u-east"]
    assert found("2025-06-30T20:00:00.001+00:00") == ["u-east", "u-west"]


def test_a_timer_that_is_not_due_waits(old: Opened) -> None:
    assert old.tick("u-far").status == "waiting"
    assert "u-far" not in ids(old.runtime.run_store.list_due_wait_until(now_iso=utc_now_iso()))


def test_recorded_results_are_taken_over(old: Opened) -> None:
    assert key_of("run-1", "node-1", "llm_call", {"prompt": "test"}) == LITERAL_KEY
    assert old.tick("run-1").output == {"got": {"content": "aus dem Ledger"}}
    assert old.tick("reuse").output == {"got": {"content": "ö", "usage": {"total_tokens": 3}}}
    assert old.called == []
    assert [r["step_id"] for r in old.runtime.get_ledger("run-1")][:2] == ["run-1-1", "run-1-1"]


def test_runs_that_were_under_way_end(old: Opened) -> None:
    assert old.tick("resumed").output == {"got": {"text": "ja"}}
    assert old.tick("bare").output == {"got": None}
    assert old.tick("snapshot").output == {"got": None}
    snapshot = old.runtime.get_state("snapshot").vars["_runtime"]["workflow_snapshot"]
    assert snapshot == {"artifact_id": "a657ed913ae17d93"}


def test_paused_runs_stay_paused_until_somebody_lets_them_go(old: Opened) -> None:
    for run_id in ("paused", "paused-sleep"):
        assert old.tick(run_id).status == "waiting"
        with pytest.raises(ValueError, match="Run is paused"):
            old.resume(run_id, None, 1)
        control = old.runtime.resume_run(run_id).vars["_runtime"]["control"]
        assert "paused" not in control
        assert control["paused_at"] == "2025-03-04T05:06:08.000009+00:00"
        assert old.tick(run_id).status == "completed"
    assert old.called == ["paused"]


def test_last_words_are_added(old: Opened) -> None:
    assert old.runtime.repair_ledger("torn") == 2
    assert old.runtime.repair_ledger("torn-resumed") == 2
    assert old.runtime.repair_ledger("torn-failed") == 1
    assert old.runtime.repair_ledger("whole") == 0
    completion = old.runtime.get_ledger("torn-resumed")[1]["result"]
    assert completion["via"] == "resume"
    assert completion["output"] == {"success": True, "result": {"text": "ja"}}
    for run_id in ("torn", "torn-resumed", "torn-failed"):
        assert old.runtime.get_ledger(run_id)[-1]["idempotency_key"].startswith("system:terminal_status:")
        assert old.runtime.repair_ledger(run_id) == 0


def test_traces_in_old_checkpoints_are_still_served(old: Opened) -> None:
    """Their own text first, and what came after them from the ledger."""
    assert old.runtime.get_node_trace("traced", "node-1")["steps"] == [TRACE_STEP]
    old.tick("traced")
    for traces in (
        old.runtime.get_node_traces("traced"),
        old.runtime.get_state("traced").vars["_runtime"]["node_traces"],
    ):
        assert traces["node-1"]["steps"] == [TRACE_STEP]
        assert [step["result"] for step in traces["call"]["steps"]] == [{"content": "neu"}]
    assert len(json.dumps(old.read()[0]["traced"])) < 3000


def test_what_we_write_has_the_stored_form(old: Opened) -> None:
    """Everything is driven as far as it goes; a reader that knows nothing of us takes all of it."""
    for run in RUNS:
        run_id, wait = run["run_id"], run["waiting"]
        old.runtime.resume_run(run_id)
        if wait is not None and wait["reason"] != "until" and not run_id.startswith("paused"):
            old.resume(run_id, None, {"text": "ja"})
        old.tick(run_id)
        old.runtime.repair_ledger(run_id)
    runs, ledgers = old.read()
    assert {run_id for run_id, run in runs.items() if run["status"] == "waiting"} == {"u-far"}
    for run_id, run in runs.items():
        untouched = run in RUNS
        if not untouched:
            check_run(run)
        records = ledgers.get(run_id, [])
        mine = records[len(LEDGERS.get(run_id, [])) :]
        assert records[: len(records) - len(mine)] == LEDGERS.get(run_id, [])
        assert untouched or mine
        for one in mine:
            check_record(one)
        if run["status"] != "waiting":
            assert records[-1]["idempotency_key"] == f"system:terminal_status:{run['status']}"
