"""Many writers at once: one winner, disjoint claims, no event lost between two transactions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import pytest

from abstractruntime.core.errors import ConcurrentUpdateError
from abstractruntime.storage.checkpoints import CheckpointStore, Event, Write, Written
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.storage.runs import a_record, a_run, insert, loaded, waiting_for

T = TypeVar("T")


def _together(number: int, work: Callable[[int], T]) -> list[T]:
    """Run ``work`` in so many threads that start at the same moment."""
    start = threading.Barrier(number)

    def run(n: int) -> T:
        start.wait(timeout=30)
        return work(n)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(run, range(number)))


@pytest.mark.weakness("spec/02 S-2")
def test_two_writers_of_one_version_have_one_winner(store: CheckpointStore) -> None:
    for i in range(20):
        before = insert(store, a_run(f"r{i}"))

        def write(n: int, before: object = before) -> Written:
            assert hasattr(before, "run")
            run = replace(before.run, current_node=f"writer-{n}")
            return store.commit(Write(before, run, records=[a_record(run)]))  # type: ignore[arg-type]

        results = _together(3, write)
        assert sorted(result.value for result in results) == ["conflict", "conflict", "ok"]
        after = loaded(store, f"r{i}")
        assert after.run.current_node == f"writer-{results.index(Written.OK)}"
        assert (after.version, after.ledger_seq, len(store.ledger(f"r{i}"))) == (2, 1, 1)


def test_counters_of_many_writers_add_up(store: CheckpointStore) -> None:
    insert(store, a_run(vars={"n": 0}))

    def work(_: int) -> int:
        conflicts = 0
        for _ in range(15):
            while True:
                before = loaded(store, "r1")
                run = replace(before.run, vars={"n": before.run.vars["n"] + 1})
                if store.commit(Write(before, run, records=[a_record(run)])) is Written.OK:
                    break
                conflicts += 1
        return conflicts

    _together(4, work)
    after = loaded(store, "r1")
    assert after.run.vars == {"n": 60}
    assert (after.version, after.ledger_seq) == (61, 60)
    assert [entry.seq for entry in store.ledger("r1")] == list(range(1, 61))


def test_units_that_load_first_never_conflict(store: CheckpointStore) -> None:
    insert(store, a_run(vars={"n": 0}))

    def work(_: int) -> None:
        for _ in range(10):
            with store.unit() as unit:
                before = unit.load("r1")
                assert before is not None
                run = replace(before.run, vars={"n": before.run.vars["n"] + 1})
                assert unit.write(Write(before, run)) is Written.OK

    _together(4, work)
    assert loaded(store, "r1").run.vars == {"n": 40}


def test_sweeps_at_the_same_time_get_disjoint_runs(store: CheckpointStore) -> None:
    past = store.now() - 100
    for i in range(60):
        insert(store, a_run(f"r{i}"), wake_at=past + i)

    def sweep(_: int) -> list[str]:
        mine: list[str] = []
        while due := store.claim_due(limit=7, grace_s=1000.0):
            mine += [run.run_id for run in due]
        return mine

    claimed = [run_id for mine in _together(4, sweep) for run_id in mine]
    # Skipping what others hold locked may leave some for the next sweep, but gives none out twice.
    claimed += [run.run_id for run in store.claim_due(limit=100, grace_s=1000.0)]
    assert sorted(claimed) == sorted(f"r{i}" for i in range(60))


def test_an_event_and_a_wait_at_the_same_time_meet(store: CheckpointStore) -> None:
    """Either the emitter sees the waiter, or the waiter sees the event; never neither, never both."""
    for i in range(40):
        key = f"k{i}"
        insert(store, a_run(f"r{i}"))

        def emit(key: str = key) -> bool:
            with store.unit() as unit:
                unit.lock_keys([key, "*"])
                assert unit.add_event(Event(f"e-{key}", key, {}, "*")) is not None
                return bool(unit.waiting_on([key]))

        def wait(run_id: str = f"r{i}", key: str = key) -> bool:
            with store.unit() as unit:
                unit.lock_keys([key])
                before = unit.load(run_id)
                assert before is not None
                if unit.next_event(run_id, [key], since=0.0) is not None:
                    return True
                assert unit.write(Write(before, waiting_for(before.run, key, f"other-{key}"))) is Written.OK
                return False

        def act(n: int, emit: Callable[[], bool] = emit, wait: Callable[[], bool] = wait) -> bool:
            return emit() if n == 0 else wait()

        seen_by_emitter, seen_by_waiter = _together(2, act)
        assert seen_by_emitter != seen_by_waiter


def test_positions_under_one_key_grow_in_commit_order(store: CheckpointStore) -> None:
    """A reader that has consumed position n never finds a smaller one later."""
    done = threading.Event()
    insert(store, a_run())

    def emit(n: int) -> None:
        for i in range(15):
            with store.unit() as unit:
                unit.lock_keys(["k"])
                unit.add_event(Event(f"e{n}-{i}", "k", {}))

    def consume() -> list[int]:
        seen: list[int] = []
        while True:
            last_look = done.is_set()
            with store.unit() as unit:
                event = unit.next_event("r1", ["k"], since=0.0)
                if event is not None:
                    unit.consume("r1", "k", event.seq)
            if event is not None:
                seen.append(event.seq)
            elif last_look:
                return seen

    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(consume)
        _together(3, emit)
        done.set()
        seen = reader.result(timeout=60)
    assert len(seen) == 45
    assert seen == sorted(seen)


def test_keys_locked_in_any_order_do_not_deadlock(store: CheckpointStore) -> None:
    keys = [f"k{i}" for i in range(10)]

    def work(n: int) -> None:
        mine = keys if n % 2 else keys[::-1]
        for _ in range(20):
            with store.unit() as unit:
                unit.lock_keys(mine)

    _together(4, work)


def test_a_deadlock_is_reported_as_a_lost_race(postgres_url: str) -> None:
    database = open_database(postgres_url)
    migrate.upgrade(database)
    store = SqlCheckpointStore(database)
    insert(store, a_run("a"))
    insert(store, a_run("b"))
    both_hold_one = threading.Barrier(2)

    def work(n: int) -> bool:
        first, second = ("a", "b") if n else ("b", "a")
        try:
            with store.unit() as unit:
                unit.load(first)
                both_hold_one.wait(timeout=30)
                unit.load(second)
        except ConcurrentUpdateError:
            return False
        return True

    assert sorted(_together(2, work)) == [False, True]
    assert store.load("a") is not None
    database.close()


@pytest.mark.parametrize("opened", [1, 2], ids=["one object", "two objects"])
def test_sqlite_writers_do_not_starve(sqlite_url: str, opened: int) -> None:
    databases = [open_database(sqlite_url) for _ in range(opened)]
    migrate.upgrade(databases[0])
    stores = [SqlCheckpointStore(database) for database in databases]
    for n in range(4):
        insert(stores[0], a_run(f"r{n}"))

    def work(n: int) -> None:
        store = stores[n % opened]
        before = loaded(store, f"r{n}")
        for _ in range(40):
            assert store.commit(Write(before, before.run, records=[a_record(before.run)])) is Written.OK
            before = loaded(store, f"r{n}")

    _together(4, work)
    assert all(len(stores[0].ledger(f"r{n}")) == 40 for n in range(4))
    for database in databases:
        database.close()
