"""Hash chains (`spec/02 §8.1`)."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import StepRecord, StepStatus
from abstractruntime.storage.base import LedgerStore
from abstractruntime.storage.forwarding import stores_inside
from abstractruntime.storage.in_memory import InMemoryLedgerStore
from abstractruntime.storage.json_files import JsonlLedgerStore
from abstractruntime.storage.ledger_chain import (
    HashChainedLedgerStore,
    compute_record_hash,
    verify_ledger_chain,
)
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore

FIRST = "704822c3371aa40a529caf58cd4918676fd1763613858b8b5fc9d57b42968a53"
SECOND = "c2fb559709b6a72c2c56cb802789c2869929d5b05fdb3adb63bee1dd456f55ac"


class PlainLedger(LedgerStore):
    """The two required methods and nothing else."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.lists = 0

    def append(self, record: StepRecord) -> None:
        self.records.append(json.loads(json.dumps(record.to_dict())))

    def list(self, run_id: str) -> list[dict[str, Any]]:
        self.lists += 1
        return [dict(record) for record in self.records if record["run_id"] == run_id]


@dataclass
class DataclassLedger(PlainLedger):
    """Compares by its fields, so it has no hash."""

    records: list[dict[str, Any]] = field(default_factory=list)
    lists: int = 0


class DictLedger(dict[str, Any], PlainLedger):
    """A dict has no hash either."""

    def __init__(self) -> None:
        PlainLedger.__init__(self)


class SlotsLedger:
    """No object can know when this one goes."""

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def append(self, record: StepRecord) -> None:
        self.records.append(record.to_dict())

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["run_id"] == run_id]


@pytest.fixture(params=["memory", "jsonl", "sqlite", "plain", "dataclass", "dict"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerStore:
    if request.param == "memory":
        return InMemoryLedgerStore()
    plain = {"plain": PlainLedger, "dataclass": DataclassLedger, "dict": DictLedger}.get(request.param)
    if plain is not None:
        return plain()
    if request.param == "jsonl":
        return JsonlLedgerStore(tmp_path)
    return SqliteLedgerStore(SqliteDatabase(tmp_path / "ledger.db"))


def record(run_id: str = "r1", **fields: Any) -> StepRecord:
    values: dict[str, Any] = {
        "step_id": "s1",
        "node_id": "n1",
        "status": StepStatus.COMPLETED,
        "result": {"b": 2, "a": "é"},
        "started_at": "2025-01-01T00:00:00+00:00",
        "ended_at": "2025-01-01T00:00:01+00:00",
    }
    return StepRecord(run_id, **{**values, **fields})


def test_hashes_are_the_published_ones() -> None:
    stored = record().to_dict() | {"prev_hash": "ignored", "record_hash": "ignored", "signature": "ignored"}
    assert compute_record_hash(record=stored, prev_hash=None) == FIRST
    assert compute_record_hash(record=stored, prev_hash=FIRST) == SECOND
    assert compute_record_hash(record=stored | {"status": StepStatus.COMPLETED}, prev_hash=None) == FIRST
    assert compute_record_hash(record=stored | {"extra": None}, prev_hash=None) != FIRST


@pytest.mark.weakness("spec/02 U-5")
@pytest.mark.parametrize("value", [{10: "a", 9: "b"}, (1, 2), float("nan"), "\ud83d", "\ud83d\ude00"])
def test_hash_survives_a_trip_through_json(value: object) -> None:
    before = {"result": value}
    assert compute_record_hash(record=before, prev_hash=None) == compute_record_hash(
        record=json.loads(json.dumps(before)), prev_hash=None
    )


def test_chain_verifies_across_instances(inner: LedgerStore) -> None:
    first, second = HashChainedLedgerStore(inner), HashChainedLedgerStore(inner)
    one = record()
    for store in (first, second, first):
        store.append(one)  # the same object, as the runtime does
        store.append(record("other"))
    report = verify_ledger_chain(first.list("r1"))
    assert report["ok"]
    assert report["count"] == 3
    assert report["head_hash"] == report["computed_head_hash"] == one.record_hash == first.head("r1")
    assert first.list("r1")[0]["record_hash"] == FIRST
    assert verify_ledger_chain(HashChainedLedgerStore(inner).list("other"))["ok"]


@pytest.mark.weakness("spec/02 S-5")
def test_threads_with_their_own_decorators_do_not_fork_the_chain(inner: LedgerStore) -> None:
    def append_some(number: int) -> None:
        store = HashChainedLedgerStore(inner)
        for step in range(20):
            store.append(record(step_id=f"{number}-{step}"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append_some, range(4)))
    report = verify_ledger_chain(inner.list("r1"))
    assert (report["ok"], report["count"]) == (True, 80)


def test_two_doors_to_one_file_extend_one_chain(tmp_path: Path) -> None:
    stores = [
        HashChainedLedgerStore(SqliteLedgerStore(SqliteDatabase(tmp_path / "ledger.db"))) for _ in range(2)
    ]
    for number in range(6):
        stores[number % 2].append(record(step_id=str(number)))
    assert verify_ledger_chain(stores[0].list("r1"))["ok"]


def test_two_ledgers_that_equal_each_other_have_chains_of_their_own() -> None:
    one, other = DataclassLedger(), DataclassLedger()
    HashChainedLedgerStore(one).append(record())
    del one
    HashChainedLedgerStore(other).append(record())
    assert verify_ledger_chain(other.list("r1"))["ok"]


def test_a_ledger_that_no_weak_reference_can_name_has_a_chain() -> None:
    """`spec/02 §2.2`: a ledger is what has ``append`` and ``list``."""
    inner: Any = SlotsLedger()
    for number in range(3):
        HashChainedLedgerStore(inner).append(record(step_id=str(number)))
    report = verify_ledger_chain(inner.list("r1"))
    assert (report["ok"], report["count"]) == (True, 3)


class SelfInner(PlainLedger):
    """Says that it decorates itself."""

    @property
    def inner(self) -> LedgerStore:
        return self


class Anything(PlainLedger):
    """Has every attribute one may ask for, as mocks have."""

    def __getattr__(self, name: str) -> object:
        if name in ("last", "appending", "count", "lock_domain"):  # what it says of itself is another matter
            raise AttributeError(name)
        return Anything()


@pytest.mark.parametrize("make", [SelfInner, Anything])
def test_the_stores_inside_come_to_an_end(make: Callable[[], LedgerStore]) -> None:
    inner = make()
    assert list(stores_inside(inner)) == [inner]
    store = HashChainedLedgerStore(inner)
    for number in range(3):
        store.append(record(step_id=str(number)))
    assert verify_ledger_chain(inner.list("r1"))["ok"]


def test_plain_ledger_is_read_once() -> None:
    inner = PlainLedger()
    store = HashChainedLedgerStore(inner)
    for number in range(5):
        store.append(record(step_id=str(number)))
    assert inner.lists == 1


@pytest.mark.parametrize("bad", [{"x": object()}, {"x": {1: 0, "a": 0}}])
def test_failed_append_changes_nothing(inner: LedgerStore, bad: dict[str, Any]) -> None:
    store = HashChainedLedgerStore(inner)
    store.append(record())
    refused = record(result=bad)
    with pytest.raises(TypeError):
        store.append(refused)
    assert (refused.prev_hash, refused.record_hash) == (None, None)
    store.append(record())
    assert verify_ledger_chain(store.list("r1"))["ok"]


def chain(length: int = 4) -> list[dict[str, Any]]:
    store = HashChainedLedgerStore(InMemoryLedgerStore())
    for number in range(length):
        store.append(record(step_id=str(number)))
    return store.list("r1")


def test_empty_chain_is_ok() -> None:
    assert verify_ledger_chain([]) == {
        "ok": True,
        "count": 0,
        "errors": [],
        "first_bad_index": None,
        "head_hash": None,
        "computed_head_hash": None,
    }


def test_edit_is_one_error_and_index_0_counts() -> None:
    records = chain()
    records[0]["result"] = "edited"
    records[2]["result"] = "edited"
    report = verify_ledger_chain(records)
    assert [(error["type"], error["index"]) for error in report["errors"]] == [
        ("record_hash_mismatch", 0),
        ("record_hash_mismatch", 2),
    ]
    assert report["first_bad_index"] == 0
    assert set(report["errors"][0]) == {"type", "index", "stored", "computed"}


def test_removed_record_is_one_error() -> None:
    records = chain()
    removed = records.pop(1)
    (error,) = verify_ledger_chain(records)["errors"]
    assert error == {
        "type": "prev_hash_mismatch",
        "index": 1,
        "expected_prev_hash": records[0]["record_hash"],
        "actual_prev_hash": removed["record_hash"],
    }


def test_computed_head_is_computed() -> None:
    records = chain()
    records[-1]["result"] = "edited"
    report = verify_ledger_chain(records)
    assert report["computed_head_hash"] == report["errors"][0]["computed"] != report["head_hash"]


def test_records_without_hashes_are_bad() -> None:
    report = verify_ledger_chain([record().to_dict(), record().to_dict()])
    assert report["errors"] == [{"type": "missing_record_hash", "index": 0}]
    assert report["first_bad_index"] == 0
    assert not report["ok"]


@pytest.mark.weakness("spec/02 U-5")
def test_trusted_head_shows_a_cut_tail() -> None:
    records = chain()
    assert verify_ledger_chain(records[:2])["ok"]
    assert verify_ledger_chain(records, trusted_head=records[2]["record_hash"])["ok"]
    report = verify_ledger_chain(records[:2], trusted_head=records[2]["record_hash"])
    assert [error["type"] for error in report["errors"]] == ["trusted_head_missing"]
    assert report["first_bad_index"] == 2


def test_optional_methods_are_those_of_the_ledger_inside() -> None:
    chained = HashChainedLedgerStore(InMemoryLedgerStore())
    chained.append(record(idempotency_key="k"))
    options: Any = chained
    assert options.count("r1") == 1
    assert options.find_completed("r1", "k").result == {"b": 2, "a": "é"}
    assert options.list_after(run_id="r1", after=0)[1] == 1
    assert not hasattr(chained, "subscribe")
    assert not hasattr(HashChainedLedgerStore(PlainLedger()), "count")
