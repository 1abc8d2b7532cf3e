"""What every ledger store of the contract does (`spec/02 §2.2`, §4, §6.4)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import Effect, EffectType, StepRecord
from abstractruntime.storage.checkpoints import PriorResult
from abstractruntime.storage.in_memory import InMemoryLedgerStore
from abstractruntime.storage.json_files import JsonlLedgerStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from tests.storage.runs import a_record, a_run

Ledger = InMemoryLedgerStore | JsonlLedgerStore | SqlLedgerStore


@pytest.fixture(params=["memory", "json", "sqlite", "postgresql"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    if request.param in ("memory", "json"):
        yield InMemoryLedgerStore() if request.param == "memory" else JsonlLedgerStore(tmp_path)
        return
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    database = open_database(request.getfixturevalue(fixture))
    migrate.upgrade(database)
    yield SqlLedgerStore(database)
    database.close()


def test_records_come_back_in_order(ledger: Ledger) -> None:
    records = [a_record(a_run(), f"k{i}") for i in range(12)]
    for record in records:
        ledger.append(record)
    assert ledger.list("r1") == [record.to_dict() for record in records]
    assert list(ledger.list("r1")[0]) == list(records[0].to_dict())
    assert ledger.list("nobody") == []
    assert ledger.last("r1") == records[-1].to_dict()
    assert ledger.last("nobody") is None


@pytest.mark.weakness("spec/02 S-7")
def test_append_takes_a_snapshot(ledger: Ledger) -> None:
    record = a_record(a_run())
    ledger.append(record)
    ledger.append(record.finish_success({"list": [1]}))
    assert record.result is not None
    record.result["list"].append(2)
    stored = ledger.list("r1")
    assert [entry["status"] for entry in stored] == ["started", "completed"]
    assert stored[1]["result"] == {"list": [1]}
    stored[1]["result"]["list"].append(3)
    assert ledger.list("r1")[1]["result"] == {"list": [1]}


def _ring() -> dict[str, Any]:
    ring: dict[str, Any] = {}
    ring["again"] = ring
    return ring


def test_what_json_cannot_say_is_refused(ledger: Ledger) -> None:
    with pytest.raises(TypeError, match="r1"):
        ledger.append(a_record(a_run(), result={"x": object()}))
    with pytest.raises(ValueError, match="contains itself"):
        ledger.append(a_record(a_run(), result=_ring()))
    assert ledger.list("r1") == []
    assert ledger.count("r1") == 0


@pytest.mark.weakness("spec/02 U-6")
def test_counts(ledger: Ledger) -> None:
    for run_id, number in (("a", 3), ("b", 1)):
        for _ in range(number):
            ledger.append(a_record(a_run(run_id)))
    assert (ledger.count("a"), ledger.count("b"), ledger.count("c")) == (3, 1, 0)
    assert ledger.count_many([" a ", "b", "c", "", "a"]) == {"a": 3, "b": 1}
    many = [f"x{i}" for i in range(2000)]
    assert ledger.count_many([*many, "b"]) == {"b": 1}


def test_pages(ledger: Ledger) -> None:
    for i in range(5):
        ledger.append(a_record(a_run(), f"k{i}"))
    page, cursor = ledger.list_after(run_id="r1", after=0, limit=1)
    assert ([record["idempotency_key"] for record in page], cursor) == (["k0"], 1)
    page, cursor = ledger.list_after(run_id="r1", after=cursor)
    assert ([record["idempotency_key"] for record in page], cursor) == (["k1", "k2", "k3", "k4"], 5)
    assert ledger.list_after(run_id="r1", after=5) == ([], 5)
    assert len(ledger.list_after(run_id="r1", after=0, limit=0)[0]) == 5
    assert len(ledger.list_after(run_id="r1", after=0, limit=-1)[0]) == 1
    assert ledger.list_after(run_id="nobody", after=3) == ([], 3)


def test_metrics(ledger: Ledger) -> None:
    run = a_run()
    tools = Effect(EffectType.TOOL_CALLS, {"tool_calls": [{"name": "a"}, {"name": "b"}]})
    ledger.append(a_record(run))
    ledger.append(a_record(run, result={"usage": {"total_tokens": 12}}))
    ledger.append(StepRecord.start(run=run, node_id="n", effect=tools).finish_success({}))
    ledger.append(a_record(a_run("started only")))
    assert ledger.metrics_many(["r1", "started only", "nobody", " "]) == {
        "r1": {"steps": 2, "llm_calls": 1, "tool_calls": 2, "tokens_total": 12}
    }


def test_the_first_completed_result_by_key(ledger: Ledger) -> None:
    run = a_run()
    assert ledger.find_completed("r1", "k") is None
    ledger.append(a_record(run, "k"))
    assert ledger.find_completed("r1", "k") is None
    ledger.append(a_record(run, "k", result={"n": [1]}))
    ledger.append(a_record(run, "k", result={"n": [2]}))
    assert ledger.find_completed("r1", "k") == PriorResult({"n": [1]})
    assert ledger.find_completed("r2", "k") is None


def test_threads_append_without_gaps(ledger: Ledger) -> None:
    def work(name: str) -> None:
        for i in range(50):
            ledger.append(a_record(a_run(), f"{name}-{i}"))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stored = ledger.list("r1")
    assert len(stored) == ledger.count("r1") == 400
    for n in range(8):
        mine = [entry["idempotency_key"] for entry in stored if entry["idempotency_key"].startswith(f"t{n}-")]
        assert mine == [f"t{n}-{i}" for i in range(50)]
    assert ledger.list_after(run_id="r1", after=399)[1] == 400
