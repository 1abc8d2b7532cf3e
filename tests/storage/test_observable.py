"""Subscriptions to a ledger (`spec/02 §8.2`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan, StepRecord, StepStatus
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.storage import observable
from abstractruntime.storage.base import LedgerStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore, ObservableLedgerStoreProtocol

from .runs import a_record, a_run


class PlainLedger(LedgerStore):
    """The two required methods over a list; may be told to fail."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []
        self.broken = False

    def append(self, record: StepRecord) -> None:
        self.records.append(record)

    def list(self, run_id: str) -> list[dict[str, Any]]:
        if self.broken:
            raise OSError("disk")
        return [record.to_dict() for record in self.records if record.run_id == run_id]


def record_of(run_id: str = "r1") -> StepRecord:
    return a_record(a_run(run_id), "k", result={"n": [1]})


@pytest.fixture
def ledger() -> ObservableLedgerStore:
    return ObservableLedgerStore(InMemoryLedgerStore())


def test_subscribers_in_order_with_their_filters(ledger: ObservableLedgerStore) -> None:
    seen: list[tuple[str, str]] = []
    ledger.append(record_of())  # before anybody subscribed: no replay
    ledger.subscribe(lambda record: seen.append(("all", record["run_id"])))
    ledger.subscribe(lambda record: seen.append(("one", record["run_id"])), run_id="r1")
    ledger.append(record_of("r1"))
    ledger.append(record_of("r2"))
    assert seen == [("all", "r1"), ("one", "r1"), ("all", "r2")]
    assert isinstance(ledger, ObservableLedgerStoreProtocol)
    assert not isinstance(InMemoryLedgerStore(), ObservableLedgerStoreProtocol)


def test_unsubscribe_more_than_once_and_clear(ledger: ObservableLedgerStore) -> None:
    seen: list[str] = []
    first = ledger.subscribe(lambda record: seen.append("first"))
    ledger.subscribe(lambda record: seen.append("second"))
    first()
    first()
    ledger.append(record_of())
    ledger.clear_subscribers()
    ledger.append(record_of())
    assert seen == ["second"]


@pytest.mark.weakness("spec/02 U-7")
def test_failing_and_meddling_subscribers_do_not_matter_to_others(
    ledger: ObservableLedgerStore, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[dict[str, Any]] = []

    def meddle(record: dict[str, Any]) -> None:
        record["result"]["n"].append("mine")
        raise RuntimeError("no")

    ledger.subscribe(meddle)
    ledger.subscribe(seen.append)
    record = record_of()
    ledger.append(record)
    assert seen == [record.to_dict()]
    assert seen[0]["status"] is StepStatus.COMPLETED
    assert record.result == {"n": [1]} == ledger.list("r1")[0]["result"]
    assert ledger.failed_callbacks == 1
    assert "subscriber failed" in caplog.text


def test_refused_record_is_told_to_nobody(ledger: ObservableLedgerStore) -> None:
    seen: list[dict[str, Any]] = []
    ledger.subscribe(seen.append)
    with pytest.raises(TypeError):
        ledger.append(a_record(a_run(), result={"x": object()}))
    assert seen == []


@pytest.mark.weakness("spec/02 P-9")
def test_no_copy_without_subscribers(ledger: ObservableLedgerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[object] = []
    monkeypatch.setattr(observable, "copied", lambda value: copies.append(value) or value)
    ledger.subscribe(lambda record: None, run_id="another")
    ledger.append(record_of())
    assert copies == []


def test_hashes_are_delivered() -> None:
    seen: list[dict[str, Any]] = []
    ledger = ObservableLedgerStore(HashChainedLedgerStore(InMemoryLedgerStore()))
    ledger.subscribe(seen.append)
    ledger.append(record_of())
    assert seen[0]["record_hash"]
    assert seen == ledger.list("r1")


@pytest.mark.parametrize("inner", [InMemoryLedgerStore, PlainLedger])
def test_counts_have_one_shape(inner: type[LedgerStore]) -> None:
    ledger = ObservableLedgerStore(inner())
    ledger.append(record_of())
    assert (ledger.count("r1"), ledger.count("unknown")) == (1, 0)
    assert ledger.count_many([" r1 ", "", "unknown"]) == {"r1": 1}


def test_optional_methods_of_the_ledger_inside(ledger: ObservableLedgerStore) -> None:
    ledger.append(record_of())
    options: Any = ledger
    assert options.list_after(run_id="r1", after=0)[1] == 1
    assert options.find_completed("r1", "k").result == {"n": [1]}
    assert ledger.metrics_many(["r1"])["r1"]["steps"] == 1
    plain = ObservableLedgerStore(PlainLedger())
    assert not hasattr(plain, "list_after")
    assert plain.metrics_many(["r1"]) == {}


@pytest.mark.weakness("spec/02 U-7")
def test_a_broken_ledger_counts_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    inner = PlainLedger()
    inner.broken = True
    ledger = ObservableLedgerStore(inner)
    assert (ledger.count("r1"), ledger.count_many(["r1"])) == (0, {})
    assert "can't count" in caplog.text
    assert ledger.tally.counts() == {"count_failed": 2}


def test_runtime_subscription() -> None:
    def ask(run: RunState, ctx: Any) -> StepPlan:
        effect = Effect(EffectType.ANSWER_USER, {"message": "hi"}, "said")
        return StepPlan("ask", effect=effect, next_node="done")

    def done(run: RunState, ctx: Any) -> StepPlan:
        return StepPlan("done", complete_output={"ok": True})

    workflow = WorkflowSpec("wf", "ask", {"ask": ask, "done": done})
    runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=ObservableLedgerStore(InMemoryLedgerStore()))
    run_id = runtime.start(workflow=workflow)
    seen: list[tuple[str, str]] = []
    runtime.subscribe_ledger(lambda record: seen.append((record["node_id"], record["status"])), run_id=run_id)
    runtime.tick(workflow=workflow, run_id=run_id)
    assert seen[:2] == [("ask", "started"), ("ask", "completed")]
    plain = Runtime(run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
    with pytest.raises(RuntimeError, match="ObservableLedgerStore"):
        plain.subscribe_ledger(print)
