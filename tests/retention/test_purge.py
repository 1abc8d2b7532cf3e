"""What a purge takes and what it leaves, on every backend."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.faults import FaultInjected, configure
from abstractruntime.retention import PurgeReport, RetentionPolicy, purge
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from tests.kernel.plain_stores import PlainRunStore
from tests.retention.stores import CANCELLED, DONE, FAILED, NOW, RUNNING, WAITING, Stores, make_run

pytestmark = pytest.mark.weakness("spec/02 P-8")

MONTH = RetentionPolicy(timedelta(days=30))


def run_purge(stores: Stores, policy: RetentionPolicy = MONTH, **options: Any) -> PurgeReport:
    return purge(
        policy,
        run_store=stores.runs,
        ledger_store=stores.ledgers,
        artifact_store=stores.artifacts,
        snapshot_store=stores.snapshots,
        now=NOW,
        **options,
    )


def test_old_ended_runs_go_with_all_they_have(stores: Stores) -> None:
    stores.put(make_run("done"), make_run("failed", FAILED), make_run("cancelled", CANCELLED))
    stores.put(make_run("young", days=29), make_run("running", RUNNING), make_run("waiting", WAITING))
    report = run_purge(stores)
    assert report == PurgeReport(
        runs=3, records=6, artifacts=3, artifact_bytes=len("of doneof failedof cancelled"), snapshots=3
    )
    assert stores.ids() == {"young", "running", "waiting"}
    for run_id in ("done", "failed", "cancelled"):
        assert stores.traces_of(run_id) == []
    for run_id in ("young", "running", "waiting"):
        assert stores.is_whole(run_id)


def test_doing_it_again_finds_nothing(stores: Stores) -> None:
    stores.put(make_run("done"), make_run("young", days=1))
    assert run_purge(stores).runs == 1
    assert run_purge(stores) == PurgeReport()
    assert stores.is_whole("young")


def test_each_status_has_its_own_age(stores: Stores) -> None:
    stores.put(
        make_run("d10", days=10),
        make_run("d5", days=5),
        make_run("f100", FAILED, days=100),
        make_run("f10", FAILED, days=10),
        make_run("c1000", CANCELLED, days=1000),
    )
    policy = RetentionPolicy({DONE: timedelta(days=7), FAILED: timedelta(days=90)})
    assert run_purge(stores, policy).runs == 2
    assert stores.ids() == {"d5", "f10", "c1000"}


@pytest.mark.parametrize("alive", [RUNNING, WAITING])
@pytest.mark.parametrize("who", ["root", "child", "grandchild", "sibling"])
def test_a_tree_goes_as_a_whole_or_not_at_all(stores: Stores, alive: Any, who: str) -> None:
    parents = {"root": None, "child": "root", "grandchild": "child", "sibling": "root"}
    for run_id, parent in parents.items():
        stores.put(make_run(run_id, parent_run_id=parent, status=alive if run_id == who else DONE))
    report = run_purge(stores)
    assert report == PurgeReport(kept_trees=0 if who == "root" else 1)
    assert all(stores.is_whole(run_id) for run_id in parents)
    stores.runs.save(make_run(who, parent_run_id=parents[who]))
    assert run_purge(stores).runs == 4
    assert stores.ids() == set()


def test_a_young_or_kept_member_keeps_its_tree(stores: Stores) -> None:
    stores.put(make_run("a"), make_run("a1", parent_run_id="a", days=1))
    stores.put(make_run("b"), make_run("b1", FAILED, parent_run_id="b"))
    policy = RetentionPolicy(timedelta(days=30), statuses=["completed"])
    assert run_purge(stores, policy) == PurgeReport(kept_trees=2)
    assert stores.ids() == {"a", "a1", "b", "b1"}


def test_a_child_whose_parent_is_gone_is_a_root(stores: Stores) -> None:
    stores.put(make_run("orphan", parent_run_id="gone"), make_run("below", parent_run_id="orphan"))
    assert run_purge(stores).runs == 2


def test_a_run_of_unknown_age_is_kept(stores: Stores) -> None:
    stores.put(replace(make_run("blank"), updated_at=""), replace(make_run("odd"), updated_at="2020-13-77"))
    stores.put(replace(make_run("z"), updated_at="2020-01-01T00:00:00Z"))
    assert run_purge(stores).runs == 1
    assert stores.ids() == {"blank", "odd"}


@pytest.mark.parametrize("limit", [None, 3])
def test_a_dry_run_says_what_the_run_after_it_does(stores: Stores, limit: int | None) -> None:
    for i in range(5):
        stores.put(make_run(f"r{i}", days=60 + i), records=i)
        stores.put(make_run(f"r{i}c", parent_run_id=f"r{i}"), records=1)
    stores.put(make_run("blocked"), make_run("live", RUNNING, parent_run_id="blocked"))
    before = stores.ids()
    told = run_purge(stores, dry_run=True, limit=limit, batch=2)
    assert stores.ids() == before
    assert all(stores.is_whole(f"r{i}", i) for i in range(5))
    done = run_purge(stores, limit=limit, batch=2)
    assert told == replace(done, dry_run=True)
    assert done.runs == (10 if limit is None else 2)
    assert done.more is (limit is not None)
    assert len(stores.ids()) == len(before) - done.runs


def test_a_limit_never_divides_a_tree_and_always_gets_on(stores: Stores) -> None:
    stores.put(make_run("root"), *(make_run(f"c{i}", parent_run_id="root") for i in range(4)))
    report = run_purge(stores, limit=2)
    assert (report.runs, report.more) == (5, False)


def test_blocked_trees_do_not_hide_those_behind_them(stores: Stores) -> None:
    for i in range(6):
        stores.put(make_run(f"b{i}", days=900 + i), make_run(f"l{i}", RUNNING, parent_run_id=f"b{i}"))
    stores.put(make_run("due"))
    assert run_purge(stores, batch=2) == PurgeReport(
        runs=1, records=2, artifacts=1, artifact_bytes=6, snapshots=1, kept_trees=6
    )


def test_contents_that_a_kept_run_shares_stay(stores: Stores) -> None:
    stores.put(make_run("old"), make_run("young", days=1))
    for run_id in ("old", "young"):
        stores.artifacts.store(b"shared", run_id=run_id)
    gone = stores.artifacts.list_by_run("old")
    run_purge(stores)
    assert all(not stores.artifacts.exists(metadata.artifact_id) for metadata in gone)
    contents = [stores.artifacts.load(each.artifact_id) for each in stores.artifacts.list_by_run("young")]
    assert sorted(artifact.content for artifact in contents if artifact) == [b"of young", b"shared"]
    if stores.folder is not None:
        assert len(list((stores.folder / "artifacts" / "blobs").iterdir())) == 2


@pytest.mark.parametrize("point", ["payloads_removed", "ledgers_removed", "run_removed"])
def test_a_purge_that_dies_half_way_is_finished_by_the_next(stores: Stores, point: str) -> None:
    for i in range(3):
        stores.put(make_run(f"r{i}"), make_run(f"c{i}", parent_run_id=f"r{i}"))
    stores.put(make_run("young", days=1))
    configure(f"purge.{point}=raise")
    try:
        run_purge(stores)
    except FaultInjected:
        assert all(f"r{i}" in stores.ids() for i in range(3))
    finally:
        configure("")
    run_purge(stores)
    assert stores.ids() == {"young"}
    for i in range(3):
        assert stores.traces_of(f"r{i}") == stores.traces_of(f"c{i}") == []
    assert stores.is_whole("young")


class _Failing:
    """A ledger store that can't delete one run's ledger."""

    def __init__(self, inner: Any, run_id: str) -> None:
        self._inner = inner
        self._run_id = run_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def delete(self, run_id: str) -> bool:
        if run_id == self._run_id:
            raise OSError("no such disk")
        return bool(self._inner.delete(run_id))

    def delete_many(self, run_ids: list[str]) -> None:
        for run_id in run_ids:
            self.delete(run_id)


def test_one_run_that_can_not_be_removed_does_not_keep_the_others(stores: Stores) -> None:
    stores.put(make_run("a"), make_run("bad"), make_run("z"))
    whole = stores.ledgers
    stores.ledgers = _Failing(whole, "bad")
    report = run_purge(stores)
    assert report.runs == 2
    assert report.errors == ["run 'bad' could not be removed: no such disk"]
    assert stores.ids() == {"bad"}
    stores.ledgers = whole
    assert run_purge(stores).runs == 1
    assert stores.traces_of("bad") == []


def test_a_run_that_goes_on_meanwhile_is_left_alone(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.put(make_run("root"), make_run("child", FAILED, parent_run_id="root"), make_run("other"))
    listed = stores.runs.list_trees

    def then_revive(root_ids: list[str]) -> Any:
        trees = listed(root_ids)
        stores.runs.save(make_run("child", RUNNING, parent_run_id="root", days=0))
        return trees

    monkeypatch.setattr(stores.runs, "list_trees", then_revive)
    assert run_purge(stores).runs == 1
    assert stores.ids() == {"root", "child"}
    assert stores.is_whole("root")
    assert stores.is_whole("child")


def test_stores_that_can_not_delete_are_named() -> None:
    with pytest.raises(InvalidInputError, match="PlainRunStore: it has no delete, list_oldest_roots"):
        purge(MONTH, run_store=PlainRunStore(), ledger_store=InMemoryLedgerStore())


@pytest.mark.parametrize("options", [{"limit": 0}, {"limit": -1}, {"batch": 0}])
def test_bounds_below_one_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InvalidInputError, match="at least 1"):
        purge(MONTH, run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore(), **options)


def test_events_need_an_inbox() -> None:
    policy = RetentionPolicy(events=timedelta(days=1))
    with pytest.raises(InvalidInputError, match="no inbox"):
        purge(policy, run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
