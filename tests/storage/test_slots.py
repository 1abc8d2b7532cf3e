"""Limits in every checkpoint store: slots read off live runs, lines in order, beginnings in a window."""

from __future__ import annotations

import json
from dataclasses import replace

from abstractruntime.core.limit_terms import Scope, Terms
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import ADMITTED, QUEUED, CheckpointStore, Task, Write, Written
from abstractruntime.storage.slots import MAX_CALLS, UNSENT
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.storage.runs import a_run, insert, loaded, moved

LEASED = Terms(Scope.LEASE, concurrency=2)
RATED = Terms(Scope.LEASE, count=3, per_s=60.0)


def _hold(store: CheckpointStore, run_id: str, terms: Terms, *, lease_s: float = 30.0) -> None:
    with store.unit() as unit:
        unit.slots.take(run_id, [("k", terms)])
    before = loaded(store, run_id)
    moved(store, before, before.run, lease_until=before.now + lease_s, wake_at=before.now + lease_s)


def _line(store: CheckpointStore, *run_ids: str, rank: float = 0.0) -> None:
    for n, run_id in enumerate(run_ids):
        insert(store, a_run(run_id))
        with store.unit() as unit:
            unit.slots.queue_up("k", run_id, 1, LEASED, rank + n)


def test_a_slot_is_live_as_long_as_the_lease_of_its_run(store: CheckpointStore) -> None:
    for run_id in ("r1", "r2", "r3"):
        insert(store, a_run(run_id))
    _hold(store, "r1", LEASED)
    _hold(store, "r2", LEASED, lease_s=10.0)
    _hold(store, "r3", LEASED, lease_s=-1.0)  # its worker is gone
    with store.unit() as unit:
        usage = unit.slots.usage("k", LEASED)
        assert usage.live == 2
        assert usage.first_end is not None
        assert 0 < usage.first_end - usage.now <= 10.0
        assert unit.slots.usage("k", LEASED, but="r1").live == 1
        assert unit.slots.usage("other", LEASED).live == 0
        assert unit.slots.held_by("r1") == [("k", LEASED)]
        assert unit.slots.held_by("r3") == []  # dropped when it was seen
    before = loaded(store, "r1")
    moved(store, before, before.run)  # the outcome: no lease any more
    with store.unit() as unit:
        assert unit.slots.usage("k", LEASED).live == 1


def test_the_lease_of_a_slot_does_not_come_back_to_life(store: CheckpointStore) -> None:
    insert(store, a_run())
    _hold(store, "r1", LEASED, lease_s=10.0)
    version = loaded(store, "r1").version
    assert store.extend_lease("r1", version, 10.0, revive=False)
    assert not store.extend_lease("r1", version, 1000.0, revive=False)  # less than a twentieth is left
    before = loaded(store, "r1")
    gone = moved(store, before, before.run, lease_until=before.now - 1.0)
    assert not store.extend_lease("r1", gone.version, 10.0, revive=False)
    assert store.extend_lease("r1", gone.version, 10.0)


def test_a_started_run_holds_its_slot_until_it_ends(store: CheckpointStore) -> None:
    for scope, while_waiting in ((Scope.RUN, 1), (Scope.ACTIVE, 0)):
        terms, run_id = Terms(scope, concurrency=1), scope.value
        before = insert(store, a_run(run_id), admission=QUEUED)
        assert before.admission == QUEUED
        with store.unit() as unit:
            unit.slots.take(run_id, [("k" + run_id, terms)])
            assert unit.slots.admit(run_id, 1)
            assert not unit.slots.admit(run_id, 1)
        admitted = loaded(store, run_id)
        assert (admitted.admission, admitted.version) == (ADMITTED, 1)
        waits = moved(store, admitted, replace(admitted.run, status=RunStatus.WAITING))
        with store.unit() as unit:
            assert unit.slots.usage("k" + run_id, terms).live == while_waiting
        goes_on = moved(store, waits, replace(admitted.run, status=RunStatus.RUNNING))
        assert goes_on.admission == ADMITTED
        with store.unit() as unit:
            assert unit.slots.usage("k" + run_id, terms).live == 1
        moved(store, goes_on, replace(admitted.run, status=RunStatus.FAILED))
        with store.unit() as unit:
            assert unit.slots.usage("k" + run_id, terms).live == 0
            assert unit.slots.held_by(run_id) == []


def test_a_line_is_in_order_of_rank(store: CheckpointStore) -> None:
    _line(store, "r2", "r1", "r3")
    _line(store, "first", rank=-5.0)
    with store.unit() as unit:
        assert [waiter.run_id for waiter in unit.slots.line("k", 3)] == ["first", "r2", "r1"]
        assert unit.slots.line("k", 0) == []
        assert unit.slots.ahead("k", 1.0, "r1", 10) == 2
        assert unit.slots.ahead("k", 1.0, "zz", 10) == 3
        assert unit.slots.ahead("k", 1.0, "r1", 1) == 1
        assert unit.slots.rank_of("r3") == 2.0
        assert unit.slots.rank_of("nobody") is None
        waiter = unit.slots.line("k", 1)[0]
        assert (waiter.version, waiter.task, waiter.workflow_id) == (1, Task.TICK, a_run().workflow_id)


def test_the_release_before_goes_on_in_a_migrated_database(sql_store: SqlCheckpointStore) -> None:
    """Revision 0004 only adds: what revision 0003's workers insert has the defaults."""
    with sql_store.database.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO runs (run_id, workflow_id, status, run_json, wake_at, inserted_at) "
            f"VALUES ('r1', 'wf', 'running', '{json.dumps(a_run().to_dict())}', 1.0, 1.0)"
        )
    old = loaded(sql_store, "r1")
    assert (old.priority, old.admission, old.redeliveries) == (0, None, 0)
    assert [run.run_id for run in sql_store.claim_due(limit=9, grace_s=10.0)] == ["r1"]


def test_who_moves_on_leaves_the_line(store: CheckpointStore) -> None:
    _line(store, "r1", "r2", "r3")
    before = loaded(store, "r1")
    moved(store, before, replace(before.run, status=RunStatus.CANCELLED))
    with store.unit() as unit:
        unit.slots.take("r2", [("k", LEASED)])
    with store.unit() as unit:
        assert [waiter.run_id for waiter in unit.slots.line("k", 10)] == ["r3"]
        unit.slots.queue_up("other", "r3", 1, LEASED, 0.0)
        assert unit.slots.line("k", 10) == []


def test_who_does_not_come_is_passed_over(store: CheckpointStore) -> None:
    _line(store, "gone", "r2")
    for n in range(MAX_CALLS):
        with store.unit() as unit:
            waiter = unit.slots.line("k", 1)[0]
            assert (waiter.run_id, waiter.called_at) == ("gone", None if n == 0 else float(n - 1))
            assert unit.slots.call("k", waiter, called_at=float(n), wake_at=50.0)
    assert loaded(store, "gone").wake_at == 50.0
    with store.unit() as unit:
        assert [waiter.run_id for waiter in unit.slots.line("k", 10)] == ["r2"]
        assert not unit.slots.call("k", replace(waiter, version=7), called_at=0.0, wake_at=0.0)
        unit.slots.queue_up("k", "gone", 1, LEASED, 0.0)  # here he is
        assert [waiter.run_id for waiter in unit.slots.line("k", 10)] == ["gone", "r2"]


def test_a_held_run_says_why_and_keeps_its_version(store: CheckpointStore) -> None:
    insert(store, a_run())
    with store.unit() as unit:
        assert unit.slots.hold("r1", 1, wake_at=70.0, reason="no slot", admission=QUEUED)
        assert not unit.slots.hold("r1", 2, wake_at=80.0, reason="?", admission=None)
    held = loaded(store, "r1")
    assert (held.version, held.wake_at, held.hold_reason, held.admission) == (1, 70.0, "no slot", QUEUED)
    assert held.redeliveries == UNSENT
    with store.unit() as unit:
        assert unit.slots.hold("r1", 1, wake_at=71.0, reason="still", admission=None)
    assert loaded(store, "r1").admission == QUEUED


def test_beginnings_count_while_they_are_in_the_window(store: CheckpointStore) -> None:
    insert(store, a_run())
    for _ in range(4):
        with store.unit() as unit:
            unit.slots.take("r1", [("k", RATED)])
    with store.unit() as unit:
        claims = unit.slots.usage("k", RATED).claims
    assert len(claims) == 3  # as many as matter
    assert list(claims) == sorted(claims)
    assert store.forget_claims() == 0
    short = Terms(Scope.LEASE, count=3, per_s=1e-6)
    with store.unit() as unit:
        unit.slots.take("r1", [("short", short)])
    while store.forget_claims() == 0:  # until the clock has moved
        pass
    with store.unit() as unit:
        assert unit.slots.usage("short", short).claims == ()
        assert len(unit.slots.usage("k", RATED).claims) == 3


def test_an_undone_unit_leaves_no_slot(store: CheckpointStore) -> None:
    _line(store, "r1")
    try:
        with store.unit() as unit:
            unit.slots.take("r1", [("k", RATED)])
            unit.slots.hold("r1", 1, wake_at=1.0, reason="x", admission=QUEUED)
            raise KeyError
    except KeyError:
        pass
    with store.unit() as unit:
        assert unit.slots.held_by("r1") == []
        assert [waiter.run_id for waiter in unit.slots.line("k", 10)] == ["r1"]
        assert unit.slots.usage("k", RATED).claims == ()
    assert loaded(store, "r1").hold_reason is None


def test_due_runs_come_in_order_of_urgency(store: CheckpointStore) -> None:
    now = store.now()
    for run_id, priority, waited in (
        ("low", -1, 90.0),
        ("old", 0, 70.0),
        ("plain", 0, 10.0),
        ("high", 2, 5.0),
        ("starved", -2, 500.0),
    ):
        insert(store, a_run(run_id), wake_at=now - waited, priority=priority)
    order = [run.run_id for run in store.claim_due(limit=3, grace_s=10.0, ageing_s=60.0)]
    assert order == ["starved", "high", "old"]
    order = [run.run_id for run in store.claim_due(limit=9, grace_s=10.0, ageing_s=60.0)]
    assert order == ["low", "plain"]
    assert loaded(store, "high").priority == 2


def test_due_runs_of_one_task(store: CheckpointStore) -> None:
    now = store.now()
    insert(store, a_run("tick"), wake_at=now - 5)
    before = insert(store, a_run("effect"), wake_at=now - 9, priority=3)
    assert store.commit(Write(before, before.run, task=Task.EFFECT, wake_at=now - 9)) is Written.OK
    assert [run.run_id for run in store.claim_due(limit=9, grace_s=10.0, only=Task.TICK)] == ["tick"]
    assert [run.run_id for run in store.claim_due(limit=9, grace_s=10.0, only=Task.EFFECT)] == ["effect"]


def test_the_first_hint_of_an_unsent_run_is_no_redelivery(store: CheckpointStore) -> None:
    now = store.now()
    insert(store, a_run(), wake_at=now - 1, unsent=True)
    assert len(store.claim_due(limit=9, grace_s=10.0)) == 1
    assert loaded(store, "r1").redeliveries == 0
