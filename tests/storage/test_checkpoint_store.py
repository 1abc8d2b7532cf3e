"""What every checkpoint store does: commits, leases, wake-ups, listings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, WaitReason
from abstractruntime.storage.checkpoints import (
    CheckpointStore,
    PriorResult,
    RunFilter,
    Task,
    Write,
    Written,
)
from tests.storage.runs import a_record, a_run, insert, loaded, moved, waiting_for, waiting_until


class _UndoError(Exception):
    pass


def test_an_inserted_run_comes_back_equal(store: CheckpointStore) -> None:
    run = a_run(actor_id="a", session_id="s", parent_run_id="p", vars={"emoji": "🙂", "nested": {"x": [1]}})
    checkpoint = insert(store, run, depth=3, wake_at=123.5)
    assert checkpoint.run == run
    assert (checkpoint.version, checkpoint.depth, checkpoint.wake_at) == (1, 3, 123.5)
    assert (checkpoint.ledger_seq, checkpoint.step, checkpoint.task) == (0, None, Task.TICK)
    assert abs(checkpoint.now - checkpoint.started_at) < 60
    assert abs(checkpoint.now - store.now()) < 60


def test_an_unknown_run_is_none(store: CheckpointStore) -> None:
    assert store.load("nobody") is None
    with store.unit() as unit:
        assert unit.load("nobody") is None


def test_a_run_id_is_inserted_once(store: CheckpointStore) -> None:
    insert(store, a_run(vars={"first": True}))
    with store.unit() as unit:
        assert not unit.insert(a_run(vars={"first": False}), depth=0, wake_at=1.0)
    assert loaded(store, "r1").run.vars == {"first": True}


def test_many_runs_are_inserted_as_each_would_be(store: CheckpointStore) -> None:
    insert(store, a_run("b", vars={"first": True}))
    odd = {"text": 'quote " backslash \\ ü \ud83d\ude00 {a,NULL}'}
    runs = [a_run("a", vars=odd, actor_id="ann"), a_run("b"), a_run("c"), waiting_for(a_run("d"), "k")]
    runs.append(a_run("a", vars={"second": True}))
    with store.unit() as unit:
        inserted = unit.insert_many(runs, depth=2, wake_at=5.5, priority=3, admission="queued", unsent=True)
        assert sorted(inserted) == ["a", "c", "d"]
    with store.unit() as unit:
        assert unit.waiting_on(["k"]) == [("d", "k")]
        assert unit.insert_many([a_run("e"), a_run("f")], depth=0, wake_at=None) != []
    assert loaded(store, "b").run.vars == {"first": True}
    assert (loaded(store, "e").wake_at, loaded(store, "e").admission) == (None, None)
    with store.unit() as unit:
        assert unit.insert(
            a_run("z", vars=odd, actor_id="ann"),
            depth=2,
            wake_at=5.5,
            priority=3,
            admission="queued",
            unsent=True,
        )
    many, one = loaded(store, "a"), loaded(store, "z")
    assert abs(many.started_at - one.started_at) < 60
    same = {"started_at": 0.0, "now": 0.0}
    assert replace(many, **same) == replace(one, run=replace(one.run, run_id="a"), **same)


def test_a_commit_replaces_the_checkpoint_and_appends_records(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    step = EffectStep("start", Effect(EffectType.LLM_CALL, {"prompt": "hi"}, "answer"), "next", "key-1")
    records = [a_record(before.run, "k"), a_record(before.run, "k", result={"text": "ü"})]
    after = moved(
        store,
        before,
        replace(before.run, current_node="next", vars={"x": 1}),
        records=records,
        step=step,
        attempts=2,
        task=Task.EFFECT,
        wake_at=10.0,
        due_at=20.0,
        lease_until=30.0,
    )
    assert (after.version, after.ledger_seq) == (2, 2)
    assert (after.run.current_node, after.run.vars) == ("next", {"x": 1})
    assert (after.step, after.attempts, after.task) == (step, 2, Task.EFFECT)
    assert (after.wake_at, after.due_at, after.lease_until) == (10.0, 20.0, 30.0)
    entries = store.ledger("r1")
    assert [entry.seq for entry in entries] == [1, 2]
    assert [entry.record for entry in entries] == [record.to_dict() for record in records]


@pytest.mark.weakness("spec/02 S-2")
def test_a_stale_version_is_refused_and_writes_nothing(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    winner = moved(store, before, replace(before.run, current_node="b"), records=[a_record(before.run)])
    loser = Write(before, replace(before.run, current_node="c"), records=[a_record(before.run)])
    assert store.commit(loser) is Written.CONFLICT
    assert loaded(store, "r1").run.current_node == "b"
    assert loaded(store, "r1").version == winner.version
    assert len(store.ledger("r1")) == 1


def test_a_commit_of_an_unknown_run_is_a_conflict(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    write = Write(replace(before, run=a_run("r2")), a_run("r2"), records=[a_record(a_run("r2"))])
    assert store.commit(write) is Written.CONFLICT
    assert store.ledger("r2") == []


def test_a_completed_key_stops_a_second_outcome(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    first = moved(store, before, before.run, records=[a_record(before.run, "k", result={"n": 1})])
    record = a_record(first.run, "k", result={"n": 2})
    again = Write(first, first.run, records=[record], unless_completed=("k",))
    assert store.commit(again) is Written.ALREADY_DONE
    assert store.commit(replace(again, before=before)) is Written.ALREADY_DONE
    assert store.commit(replace(again, unless_completed=("other", "k"))) is Written.ALREADY_DONE
    assert len(store.ledger("r1")) == 1
    assert loaded(store, "r1").version == first.version
    other = replace(again, unless_completed=("other", "another"))
    assert store.commit(replace(other, before=before)) is Written.CONFLICT
    assert store.commit(other) is Written.OK


def test_a_started_record_does_not_count_as_completed(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    first = moved(store, before, before.run, records=[a_record(before.run, "k")])
    assert store.commit(Write(first, first.run, unless_completed=("k",))) is Written.OK


def test_the_first_completed_result_is_found(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    none = a_record(before.run, "none").finish_success(None)
    records = [
        a_record(before.run, "k"),
        a_record(before.run, "k", result={"n": 1}),
        a_record(before.run, "k", result={"n": 2}),
        none,
    ]
    moved(store, before, before.run, records=records)
    with store.unit() as unit:
        assert unit.completed_result("r1", "k") == PriorResult({"n": 1})
        assert unit.completed_result("r1", "none") == PriorResult(None)
        assert unit.completed_result("r1", "other") is None
        assert unit.completed_result("r2", "k") is None


def test_a_load_is_an_independent_copy(store: CheckpointStore) -> None:
    insert(store, a_run(vars={"list": [1]}))
    loaded(store, "r1").run.vars["list"].append(2)
    assert loaded(store, "r1").run.vars == {"list": [1]}


RING: list[Any] = []
RING.append(RING)


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (object(), TypeError),
        ({1, 2}, TypeError),
        (RING, InvalidInputError),
    ],
)
def test_what_json_cannot_say_is_refused_whole(
    store: CheckpointStore, value: object, error: type[Exception]
) -> None:
    before = insert(store, a_run())
    with pytest.raises(error, match="r1"):
        store.commit(Write(before, replace(before.run, vars={"x": value}), records=[a_record(before.run)]))
    bad_record = a_record(before.run, result={"x": value})
    with pytest.raises(error, match="r1"):
        store.commit(Write(before, before.run, records=[a_record(before.run), bad_record]))
    assert loaded(store, "r1").version == 1
    assert store.ledger("r1") == []


def test_broken_text_survives(store: CheckpointStore) -> None:
    odd = "\ud83d lone, nul \x00, line\u2028end"
    before = insert(store, a_run(vars={"odd": odd}))
    moved(store, before, before.run, records=[a_record(before.run, result={"odd": odd})])
    assert loaded(store, "r1").run.vars == {"odd": odd}
    assert store.ledger("r1")[0].record["result"] == {"odd": odd}


def test_a_unit_commits_whole(store: CheckpointStore) -> None:
    first, second = insert(store, a_run("r1")), insert(store, a_run("r2"))
    with store.unit() as unit:
        assert abs(unit.now - store.now()) < 60
        assert unit.write(Write(first, replace(first.run, current_node="x"))) is Written.OK
        assert unit.write(Write(second, second.run, records=[a_record(second.run)])) is Written.OK
        assert unit.insert(a_run("r3", parent_run_id="r1"), depth=1, wake_at=None)
        seen = unit.load("r1")
        assert seen is not None
        assert (seen.version, seen.run.current_node) == (2, "x")
    assert loaded(store, "r1").version == 2
    assert loaded(store, "r2").ledger_seq == 1
    assert loaded(store, "r3").depth == 1


def test_a_unit_undoes_everything_on_an_exception(store: CheckpointStore) -> None:
    before = insert(store, a_run("r1"), wake_at=5.0)

    def spoiled() -> None:
        with store.unit() as unit:
            run = waiting_for(before.run, "k", "l")
            record = a_record(before.run, "key", result={})
            assert unit.write(Write(before, run, records=[record])) is Written.OK
            assert unit.insert(a_run("r2", parent_run_id="r1"), depth=1, wake_at=1.0)
            unit.consume("r1", "k", 7)
            raise _UndoError

    with pytest.raises(_UndoError):
        spoiled()
    assert loaded(store, "r1").run == before.run
    assert loaded(store, "r1").wake_at == 5.0
    assert store.load("r2") is None
    assert store.ledger("r1") == []
    with store.unit() as unit:
        assert unit.waiting_on(["k", "l"]) == []
        assert unit.open_children("r1") == []
        assert unit.completed_result("r1", "key") is None


def test_open_children_are_those_not_ended(store: CheckpointStore) -> None:
    insert(store, a_run("parent"))
    for run_id, status in (("c1", RunStatus.RUNNING), ("c2", RunStatus.COMPLETED), ("c0", RunStatus.RUNNING)):
        insert(store, a_run(run_id, status=status, parent_run_id="parent"))
    insert(store, waiting_for(a_run("c3", parent_run_id="parent"), "k"))
    with store.unit() as unit:
        assert unit.open_children("parent") == ["c0", "c1", "c3"]
        assert unit.open_children("c1") == []


def test_a_lease_is_extended_by_its_owner_only(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    held = moved(store, before, before.run, lease_until=1.0, wake_at=1.0)
    assert store.extend_lease("r1", held.version, 30.0)
    after = loaded(store, "r1")
    assert after.lease_until is not None
    assert after.lease_until == pytest.approx(after.now + 30.0, abs=20.0)
    assert after.wake_at == pytest.approx(after.lease_until, abs=0.5)
    assert after.version == held.version
    assert not store.extend_lease("r1", held.version - 1, 30.0)
    assert not store.extend_lease("nobody", 1, 30.0)


def test_a_heartbeat_does_not_put_a_paused_run_back_into_the_wake_up_index(store: CheckpointStore) -> None:
    """Found by the simulation: its worker died then, and the sweep found the paused run for ever."""
    before = insert(store, a_run())
    held = moved(store, before, before.run, lease_until=1.0, wake_at=None)
    assert store.extend_lease("r1", held.version, 30.0)
    after = loaded(store, "r1")
    assert after.lease_until == pytest.approx(after.now + 30.0, abs=20.0)
    assert after.wake_at is None


def test_a_deferred_run_says_why_until_its_next_commit(store: CheckpointStore) -> None:
    before = insert(store, a_run(), wake_at=1.0)
    assert store.defer("r1", 1, 60.0, "no worker knows workflow 'wf'")
    held = loaded(store, "r1")
    assert held.hold_reason == "no worker knows workflow 'wf'"
    assert held.wake_at == pytest.approx(held.now + 60.0, abs=20.0)
    assert held.version == before.version
    assert store.find_runs(RunFilter())[0].hold_reason == "no worker knows workflow 'wf'"
    assert not store.defer("r1", 7, 60.0, "stale")
    assert moved(store, held, held.run).hold_reason is None


def test_due_runs_are_claimed_oldest_first_and_pushed_away(store: CheckpointStore) -> None:
    now = store.now()
    for run_id, wake_at in (("late", now - 5), ("later", now - 1), ("future", now + 600), ("parked", None)):
        insert(store, a_run(run_id, current_node=f"at-{run_id}"), wake_at=wake_at)
    insert(store, a_run("latest"), wake_at=now - 50)
    first = store.claim_due(limit=2, grace_s=100.0)
    assert [due.run_id for due in first] == ["latest", "late"]
    assert (first[1].version, first[1].node, first[1].workflow_id) == (1, "at-late", "wf")
    assert (first[1].task, first[1].delay_s) == (Task.TICK, 0.0)
    assert [due.run_id for due in store.claim_due(limit=10, grace_s=100.0)] == ["later"]
    assert store.claim_due(limit=10, grace_s=100.0) == []
    assert store.claim_due(limit=0, grace_s=100.0) == []
    late = loaded(store, "late")
    assert late.redeliveries == 1
    assert late.wake_at == pytest.approx(now + 100.0, abs=20.0)
    assert loaded(store, "future").redeliveries == 0


def test_redelivery_backs_off_and_a_commit_forgets_it(store: CheckpointStore) -> None:
    insert(store, a_run(), wake_at=store.now() - 1)
    pushes = []
    for _ in range(8):
        assert len(store.claim_due(limit=1, grace_s=-1000.0)) == 1  # a negative grace: due again at once
        seen = loaded(store, "r1")
        assert seen.wake_at is not None
        pushes.append(round((seen.now - seen.wake_at) / 1000.0))
    # Never beyond four graces: a run whose hints were lost several times must not wait for minutes.
    assert pushes == [1, 2, 4, 4, 4, 4, 4, 4]
    assert loaded(store, "r1").redeliveries == 8
    assert moved(store, loaded(store, "r1"), a_run()).redeliveries == 0


def test_a_timer_in_the_horizon_is_claimed_with_its_delay(store: CheckpointStore) -> None:
    now = store.now()
    before = insert(store, a_run())
    run = waiting_until(before.run, "2026-01-01T00:00:00.000000+00:00")
    moved(store, before, run, wake_at=now - 1, due_at=now + 300, task=Task.TICK)
    (due,) = store.claim_due(limit=5, grace_s=50.0)
    assert due.delay_s == pytest.approx(300.0, abs=20.0)
    after = loaded(store, "r1")
    assert after.redeliveries == 0
    assert after.wake_at == pytest.approx(now + 350.0, abs=20.0)


def test_a_due_timer_is_claimed_without_delay(store: CheckpointStore) -> None:
    now = store.now()
    before = insert(store, a_run())
    moved(store, before, before.run, wake_at=now - 1, due_at=now - 1, task=Task.EFFECT)
    (due,) = store.claim_due(limit=5, grace_s=50.0)
    assert (due.delay_s, due.task, due.version) == (0.0, Task.EFFECT, 2)
    assert loaded(store, "r1").redeliveries == 1


def test_listings_are_newest_first_filtered_and_paged(store: CheckpointStore) -> None:
    for i in range(5):
        run = a_run(f"r{i}", updated_at=f"2026-01-0{i + 1}T00:00:00.000000+00:00", session_id=f"s{i % 2}")
        insert(store, run)
    child = a_run("child", parent_run_id="r0", workflow_id="other", actor_id="me", updated_at="2025-12-31")
    insert(store, waiting_for(child, "k"))
    assert [row.run_id for row in store.find_runs(RunFilter())] == ["r4", "r3", "r2", "r1", "r0", "child"]
    page = store.find_runs(RunFilter(), limit=2, before="2026-01-04T00:00:00.000000+00:00")
    assert [row.run_id for row in page] == ["r2", "r1"]
    assert store.find_runs(RunFilter(), limit=0) == []
    assert [row.run_id for row in store.find_runs(RunFilter(session_id="s1"))] == ["r3", "r1"]
    assert len(store.find_runs(RunFilter(root_only=True))) == 5
    (row,) = store.find_runs(RunFilter(parent_run_id="r0", status=RunStatus.WAITING))
    assert (row.run_id, row.workflow_id, row.actor_id) == ("child", "other", "me")
    assert (row.wait_reason, row.wait_key) == (WaitReason.EVENT, "k")
    assert [row.run_id for row in store.find_runs(RunFilter(wait_reason=WaitReason.EVENT))] == ["child"]
    assert store.find_runs(RunFilter(workflow_id="other", status=RunStatus.RUNNING)) == []
    assert store.status_counts() == {"running": 5, "waiting": 1}


def test_the_ledger_is_read_in_pages(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    moved(store, before, before.run, records=[a_record(before.run, f"k{i}") for i in range(20)])
    assert [entry.seq for entry in store.ledger("r1", after=5, limit=3)] == [6, 7, 8]
    assert [entry.record["idempotency_key"] for entry in store.ledger("r1", after=18)] == ["k18", "k19"]
    assert store.ledger("r1", after=20) == []
    assert store.ledger("nobody") == []


def test_a_schedule_starts_now_and_moves_once(store: CheckpointStore) -> None:
    start = store.schedule_cursor("nightly")
    assert abs(start - store.now()) < 60
    assert store.schedule_cursor("nightly") == start
    assert store.advance_schedule("nightly", seen=start, to=start + 3600)
    assert not store.advance_schedule("nightly", seen=start, to=start + 7200)
    assert store.schedule_cursor("nightly") == start + 3600
    assert not store.advance_schedule("unknown", seen=0.0, to=1.0)


def test_a_listing_shows_the_update_time_of_the_last_change_of_status(store: CheckpointStore) -> None:
    before = insert(store, a_run())
    ended: RunState = replace(before.run, status=RunStatus.COMPLETED, updated_at="2026-05-05T00:00:00+00:00")
    moved(store, before, ended)
    assert store.find_runs(RunFilter())[0].updated_at == "2026-05-05T00:00:00+00:00"


@pytest.mark.parametrize("number", [1, 4, 5, 60])
def test_any_number_of_records_keeps_its_order(store: CheckpointStore, number: int) -> None:
    before = insert(store, a_run())
    first = moved(store, before, before.run, records=[a_record(before.run, "first")])
    records = [a_record(before.run, f"k{n}" if n % 3 else None, result={"n": n}) for n in range(number)]
    records[-1].result = {"text": 'quotes " and \\ and {braces}, ünicode'}
    assert store.commit(Write(first, first.run, records=records)) is Written.OK
    entries = store.ledger("r1")[1:]
    assert [entry.seq for entry in entries] == [*range(2, number + 2)]
    assert [entry.record for entry in entries] == [record.to_dict() for record in records]
    keys = tuple(record.idempotency_key or "" for record in records)
    again = Write(loaded(store, "r1"), first.run, unless_completed=keys)
    assert store.commit(again) is (Written.ALREADY_DONE if number > 1 else Written.OK)
