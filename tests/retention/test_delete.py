"""Removing runs and ledgers one by one, on every backend."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore, verify_ledger_chain
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.offloading import OffloadingLedgerStore, OffloadingRunStore
from abstractruntime.storage.run_trees import DeletableLedgerStore, PurgeableRunStore, RunMark
from tests.retention.stores import CANCELLED, DONE, FAILED, RUNNING, WAITING, Stores, ago, make_run
from tests.storage.runs import waiting_until

pytestmark = pytest.mark.weakness("spec/02 P-8")


@pytest.mark.parametrize("status", [DONE, FAILED, CANCELLED])
def test_an_ended_run_is_removed_from_every_query(stores: Stores, status: RunStatus) -> None:
    stores.runs.save(make_run("keep"))
    stores.runs.save(make_run("go", status, parent_run_id="keep"))
    assert stores.runs.delete("go") is True
    assert stores.runs.load("go") is None
    assert stores.runs.version_of("go") == 0
    assert stores.ids() == {"keep"}
    assert [run.run_id for run in stores.runs.list_runs()] == ["keep"]
    assert stores.runs.list_children(parent_run_id="keep") == []
    assert stores.runs.delete("go") is False


@pytest.mark.parametrize("run_id", ["unknown", "", "a/b", " "])
def test_an_unknown_run_is_no_error(stores: Stores, run_id: str) -> None:
    assert stores.runs.delete(run_id) is False
    assert stores.runs.delete(run_id, force=True) is False


def test_a_run_that_may_go_on_is_refused_unless_forced(stores: Stores) -> None:
    stores.runs.save(make_run("running", RUNNING))
    stores.runs.save(waiting_until(make_run("waiting", WAITING), ago(70)))
    for run_id in ("running", "waiting"):
        with pytest.raises(InvalidInputError, match=f"Run '{run_id}' is {run_id}; only ended"):
            stores.runs.delete(run_id)
        assert stores.runs.load(run_id) is not None
        assert stores.runs.delete(run_id, force=True) is True
        assert stores.runs.load(run_id) is None
    assert stores.runs.list_due_wait_until(now_iso=ago(0)) == []


def test_a_removed_ledger_is_gone_and_a_new_one_starts_at_its_beginning(stores: Stores) -> None:
    run = make_run("r1")
    stores.put(run, make_run("r2"))
    assert stores.ledgers.delete("r1") is True
    assert stores.ledgers.list("r1") == []
    assert stores.ledgers.count("r1") == 0
    assert stores.ledgers.last("r1") is None
    assert stores.ledgers.find_completed("r1", "key-0") is None
    assert stores.ledgers.delete("r1") is False
    assert stores.ledgers.count("r2") == 2
    stores.ledgers.append(stores.record(run, 7))
    assert [record["result"] for record in stores.ledgers.list_after(run_id="r1", after=0)[0]] == [{"i": 7}]
    assert stores.ledgers.list_after(run_id="r1", after=0)[1] == 1


def test_a_ledger_that_outlives_its_run_goes_on(stores: Stores) -> None:
    run = make_run("r1")
    stores.put(run)
    assert stores.runs.delete("r1")
    stores.ledgers.append(stores.record(run, 2))
    assert [record["result"]["i"] for record in stores.ledgers.list("r1")] == [0, 1, 2]
    stores.runs.save(run)
    stores.ledgers.append(stores.record(run, 3))
    assert [record["result"]["i"] for record in stores.ledgers.list("r1")] == [0, 1, 2, 3]


def test_a_run_may_come_back_under_the_same_id(stores: Stores) -> None:
    stores.put(make_run("r1"))
    stores.runs.delete("r1")
    stores.ledgers.delete("r1")
    stores.put(make_run("r1", RUNNING, days=0))
    assert stores.runs.load("r1").status is RUNNING
    assert stores.ledgers.count("r1") == 2


def test_oldest_roots_come_in_order_and_in_pages(stores: Stores) -> None:
    for i in range(7):
        stores.runs.save(make_run(f"r{i}", days=60 + i // 2))
    stores.runs.save(make_run("young", days=1))
    stores.runs.save(make_run("other", FAILED))
    stores.runs.save(make_run("child", parent_run_id="r0"))
    stores.runs.save(make_run("orphan", days=50, parent_run_id="gone"))
    stores.runs.save(replace(make_run("ageless"), updated_at=""))
    found: list[RunMark] = []
    while page := stores.runs.list_oldest_roots(
        status=DONE, updated_before=ago(30), after=found[-1] if found else None, limit=3
    ):
        found += page
    assert [mark.run_id for mark in found] == ["r6", "r4", "r5", "r2", "r3", "r0", "r1", "orphan"]
    assert stores.runs.list_oldest_roots(status=DONE, updated_before=ago(30), limit=0) == []


def test_trees_are_listed_deepest_first(stores: Stores) -> None:
    stores.runs.save(make_run("root"))
    stores.runs.save(make_run("other"))
    for child, parent in (("a", "root"), ("b", "root"), ("aa", "a"), ("aaa", "aa"), ("self", "self")):
        stores.runs.save(make_run(child, parent_run_id=parent))
    trees = stores.runs.list_trees(["root", "other", "unknown"])
    assert sorted(trees) == ["other", "root"]
    listed = [mark.run_id for mark in trees["root"]]
    assert sorted(listed) == ["a", "aa", "aaa", "b", "root"]
    assert [run_id for run_id in listed if run_id not in ("b",)] == ["aaa", "aa", "a", "root"]
    assert [mark.run_id for mark in trees["other"]] == ["other"]
    assert [mark.run_id for mark in stores.runs.list_trees(["self"])["self"]] == ["self"]


def test_every_store_has_the_ports(stores: Stores) -> None:
    assert isinstance(stores.runs, PurgeableRunStore)
    assert isinstance(stores.ledgers, DeletableLedgerStore)


def test_decorators_pass_it_on(stores: Stores) -> None:
    artifacts = InMemoryArtifactStore()
    runs = OffloadingRunStore(stores.runs, artifact_store=artifacts)
    ledgers = ObservableLedgerStore(
        OffloadingLedgerStore(HashChainedLedgerStore(stores.ledgers), artifact_store=artifacts)
    )
    assert runs.list_trees(["r1"]) == {}
    run = make_run("r1")
    runs.save(run)
    for i in range(3):
        ledgers.append(stores.record(run, i))
    assert ledgers.delete("r1") is True
    ledgers.append(stores.record(run, 4))
    assert verify_ledger_chain(ledgers.list("r1"))["ok"]
    assert runs.delete("r1") is True
    assert stores.runs.load("r1") is None
