"""Subscribers of a ledger in a SQL database: what they are told is there, for everybody (`spec/02 §8.2`)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore

from .runs import a_record, a_run

Told = dict[str, Any]


def _call(run: RunState, ctx: object) -> StepPlan:
    return StepPlan(
        node_id="call", effect=Effect(EffectType.LLM_CALL, {}, result_key="answer"), next_node="ask"
    )


def _ask(run: RunState, ctx: object) -> StepPlan:
    return StepPlan(node_id="ask", effect=Effect(EffectType.ASK_USER, {"prompt": "?"}), next_node="end")


def _end(run: RunState, ctx: object) -> StepPlan:
    return StepPlan(node_id="end", complete_output={"ok": True})


WORKFLOW = WorkflowSpec(workflow_id="w", entry_node="call", nodes={"call": _call, "ask": _ask, "end": _end})


@pytest.fixture
def runtime(database: Database) -> Runtime:
    ledger = ObservableLedgerStore(SqlLedgerStore(database))
    handlers = {EffectType.LLM_CALL: lambda run, effect: EffectOutcome.completed({"n": 1})}
    return Runtime(run_store=SqlRunStore(database), ledger_store=ledger, effect_handlers=handlers)


def _elsewhere(work: Callable[[], Any]) -> Any:
    """What another thread, on a connection of its own, gets for ``work``."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(30)
    return found[0]


def _name(record: Told) -> str:
    kind = (record["effect"] or {}).get("type", "completion")
    return f"{record['status'].value} {kind}"


def test_other_threads_find_what_a_subscriber_is_told(runtime: Runtime) -> None:
    seen: list[tuple[str, bool, str]] = []

    def look(record: Told) -> None:
        run_id = record["run_id"]
        kept, status = _elsewhere(
            lambda: (runtime.get_ledger(run_id), runtime.get_state(run_id).status.value)
        )
        seen.append((_name(record), any(one["step_id"] == record["step_id"] for one in kept), status))

    runtime.subscribe_ledger(look)
    run_id = runtime.start(workflow=WORKFLOW)
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    runtime.resume(workflow=WORKFLOW, run_id=run_id, wait_key=None, payload={"text": "yes"})
    told = [name for name, _, _ in seen]
    assert told == [
        "started llm_call",
        "completed llm_call",
        "started ask_user",
        "waiting ask_user",
        "completed resume",
        "completed completion",
        "completed emit_event",
    ]
    assert all(is_there for _, is_there, _ in seen)
    assert (
        dict(zip(told, (status for _, _, status in seen), strict=True))["completed emit_event"] == "completed"
    )


def test_a_subscriber_may_wait_for_another_thread_that_writes(runtime: Runtime) -> None:
    started: list[str] = []

    def start_another(record: Told) -> None:
        if _name(record) in ("completed resume", "completed emit_event"):
            started.append(_elsewhere(lambda: runtime.start(workflow=WORKFLOW)))

    runtime.subscribe_ledger(start_another)
    run_id = runtime.start(workflow=WORKFLOW)
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    runtime.resume(workflow=WORKFLOW, run_id=run_id, wait_key=None, payload=None)
    assert [runtime.get_state(one).status for one in started] == [RunStatus.RUNNING] * 2


def test_what_is_undone_nobody_is_told(database: Database) -> None:
    ledger = ObservableLedgerStore(SqlLedgerStore(database))
    told: list[str] = []
    ledger.subscribe(lambda record: told.append(record["run_id"]))

    def fail() -> None:
        with database.atomic():
            ledger.append(a_record(a_run("undone"), "k"))
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    with database.atomic():
        with database.atomic():
            ledger.append(a_record(a_run("kept"), "k"))
        assert told == []
    assert told == ["kept"]
    ledger.append(a_record(a_run("alone"), "k"))
    assert told == ["kept", "alone"]
    assert ledger.list("undone") == []


def test_who_unsubscribes_at_the_first_record_does_not_get_the_second(database: Database) -> None:
    ledger = ObservableLedgerStore(SqlLedgerStore(database))
    told: list[str] = []
    stops: list[Callable[[], None]] = []

    def once(record: Told) -> None:
        told.append(record["run_id"])
        stops[0]()

    stops.append(ledger.subscribe(once))
    with database.atomic():
        ledger.append(a_record(a_run("first"), "k"))
        ledger.append(a_record(a_run("second"), "k"))
    assert told == ["first"]


def test_what_a_subscriber_does_to_the_run_is_what_the_call_returns(runtime: Runtime) -> None:
    def cancel(record: Told) -> None:
        if _name(record) == "completed resume":
            runtime.cancel_run(record["run_id"], reason="seen enough")

    runtime.subscribe_ledger(cancel)
    run_id = runtime.start(workflow=WORKFLOW)
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    state = runtime.resume(workflow=WORKFLOW, run_id=run_id, wait_key=None, payload=1, max_steps=0)
    assert (state.status, state.error) == (RunStatus.CANCELLED, "seen enough")


def test_an_outcome_whose_checkpoint_fails_is_told_once(
    runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    runtime.subscribe_ledger(lambda record: told.append(_name(record)))
    run_id = runtime.start(workflow=WORKFLOW)

    def full(*args: object, **kwargs: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as broken:
        broken.setattr(runtime.run_store, "swap", full)
        broken.setattr(runtime.run_store, "save", full)
        with pytest.raises(OSError, match="disk full"):
            runtime.tick(workflow=WORKFLOW, run_id=run_id)
    assert told == ["started llm_call", "completed llm_call"]
    assert len(runtime.get_ledger(run_id)) == 2
