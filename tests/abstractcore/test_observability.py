"""Ledger records on AbstractCore's bus, and a logger that takes fields (`spec/04 §13`)."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import StepStatus
from abstractruntime.integrations.abstractcore.logging import FieldLogger, get_logger
from abstractruntime.integrations.abstractcore.observability import (
    attach_global_event_bus_bridge,
    emit_step_record,
)
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.observable import ObservableLedgerStore

STATUSES = ["started", "completed", "waiting", "failed"]


@pytest.fixture
def bus() -> Iterator[list[Any]]:
    """Every workflow event that is emitted."""
    events = pytest.importorskip("abstractcore.events", reason="its bus is what is fed")
    seen: list[Any] = []
    kinds = [events.EventType[f"WORKFLOW_STEP_{status.upper()}"] for status in STATUSES]
    for kind in kinds:
        events.GlobalEventBus.on(kind, seen.append)
    yield seen
    for kind in kinds:
        events.GlobalEventBus.off(kind, seen.append)


@pytest.mark.parametrize("status", [*STATUSES, *StepStatus])
def test_a_record_becomes_an_event(bus: list[Any], status: Any) -> None:
    record = {"run_id": "r", "node_id": "n", "step_id": "s", "status": status, "result": {"a": 1}}
    emit_step_record(record, source="mine")
    text = getattr(status, "value", status)
    (event,) = bus
    assert event.type.value == f"workflow_step_{text}"
    assert event.source == "mine"
    assert event.data == {"run_id": "r", "node_id": "n", "step_id": "s", "status": text, "record": record}


@pytest.mark.parametrize("status", ["paused", "", None, 5])
def test_other_statuses_are_silent(bus: list[Any], status: Any) -> None:
    emit_step_record({"status": status})
    emit_step_record({})
    assert bus == []


def ask(run: Any, context: Any) -> StepPlan:
    return StepPlan(node_id="ask", effect=Effect(EffectType.ANSWER_USER, {"message": "hi"}), next_node="done")


def done(run: Any, context: Any) -> StepPlan:
    return StepPlan(node_id="done", complete_output={"ok": True})


FLOW = WorkflowSpec(workflow_id="flow", entry_node="ask", nodes={"ask": ask, "done": done})


def test_a_runtime_is_bridged_until_it_is_not(bus: list[Any]) -> None:
    runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=ObservableLedgerStore(InMemoryLedgerStore()))
    first, second = (runtime.start(workflow=FLOW) for _ in range(2))
    end = attach_global_event_bus_bridge(runtime=runtime, run_id=first)
    for run_id in (first, second):
        runtime.tick(workflow=FLOW, run_id=run_id)
    assert {event.data["run_id"] for event in bus} == {first}
    assert {event.source for event in bus} == {"abstractruntime"}
    statuses = [event.data["status"] for event in bus]
    assert statuses == [record["status"] for record in runtime.get_ledger(first)]
    end()
    count = len(bus)
    third = runtime.start(workflow=FLOW)
    runtime.tick(workflow=FLOW, run_id=third)
    assert len(bus) == count


def test_a_ledger_that_tells_nobody_is_refused() -> None:
    pytest.importorskip("abstractcore", reason="it is looked for first")
    runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
    with pytest.raises(RuntimeError, match="does not support subscriptions"):
        attach_global_event_bus_bridge(runtime=runtime)


def test_the_structured_logger(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("abstractcore", reason="its logger is what is given")
    logger = get_logger("abstractruntime.tests.fields")
    assert type(logger).__module__.startswith("abstractcore.")
    logger.warning("said", run_id="r")


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
def test_the_fallback_takes_fields(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, level: str
) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore.utils.structured_logging", None)
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    logger = get_logger("abstractruntime.tests.fields")
    with caplog.at_level(logging.DEBUG, logger="abstractruntime.tests.fields"):
        getattr(logger, level)("100% said", run_id="r", count=2)
        getattr(logger, level)("plain")
    first, second = caplog.records
    assert (first.getMessage(), second.getMessage()) == ("100% said run_id='r' count=2", "plain")
    assert first.filename == "test_observability.py"
    assert first.levelname == ("ERROR" if level == "exception" else level.upper())


def test_the_fallback_takes_what_the_standard_library_takes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore.utils.structured_logging", None)
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    logger = get_logger("abstractruntime.tests.fields")
    try:
        raise KeyError("x")
    except KeyError:
        logger.error("failed", exc_info=True, extra={"own": 1}, node="n")
    (record,) = caplog.records
    assert record.getMessage() == "failed node='n'"
    assert record.exc_info is not None
    assert record.__dict__["own"] == 1


def test_the_fallback_formats_arguments(caplog: pytest.LogCaptureFixture) -> None:
    logger = FieldLogger(logging.getLogger("abstractruntime.tests.fields"))
    logger.warning("%d of %s", 2, "three")
    logger.warning("%s said", "she", share="50%")
    assert [record.getMessage() for record in caplog.records] == ["2 of three", "she said share='50%'"]
