"""A checkpoint is replaced only by who has seen the newest (`spec/02 §15.3`, S-2)."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.in_memory import InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.run_store import SqlRunStore
from tests.storage.runs import a_run, waiting_until

pytestmark = pytest.mark.weakness("spec/02 S-2")

RunStore = InMemoryRunStore | JsonFileRunStore | SqlRunStore
EACH = 25
LATER = "2027-01-01T00:00:00+00:00"


@pytest.fixture(params=["memory", "files", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where the runs are."""
    if request.param in ("memory", "files"):
        return f"{request.param}:{tmp_path}"
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    migrate.upgrade(open_database(url))
    return url


def opened(place: str) -> RunStore:
    kind, _, rest = place.partition(":")
    if kind == "memory":
        return InMemoryRunStore()
    return JsonFileRunStore(rest) if kind == "files" else SqlRunStore(open_database(place))


@pytest.fixture
def runs(place: str) -> Iterator[RunStore]:
    store = opened(place)
    store.save(a_run(vars={"n": 0}))
    yield store
    if isinstance(store, SqlRunStore):
        store._database.close()


def test_the_one_who_has_seen_the_newest_replaces_it(runs: RunStore) -> None:
    before, seen = a_run(vars={"n": 0}), runs.version_of("r1")
    waits = waiting_until(replace(before, vars={"n": 1}), "2026-01-01T00:00:00+00:00")
    version = runs.swap(waits, before=before, version=seen)
    assert version == runs.version_of("r1") != seen
    assert runs.load("r1") == waits
    assert [run.run_id for run in runs.list_due_wait_until(now_iso=LATER)] == ["r1"]
    done = replace(before, status=RunStatus.COMPLETED, vars={"n": 2})
    assert runs.swap(done, before=waits, version=version or 0) == runs.version_of("r1")
    assert runs.load("r1") == done
    assert runs.list_due_wait_until(now_iso=LATER) == []


def test_the_one_who_has_not_writes_nothing(runs: RunStore) -> None:
    before, seen = a_run(vars={"n": 0}), runs.version_of("r1")
    runs.save(a_run(vars={"n": 1}))
    newest = runs.version_of("r1")
    stale = waiting_until(a_run(vars={"n": 2}), "2026-01-01T00:00:00+00:00")
    assert runs.swap(stale, before=before, version=seen) is None
    assert (runs.load("r1"), runs.version_of("r1")) == (a_run(vars={"n": 1}), newest)
    assert runs.list_due_wait_until(now_iso=LATER) == []
    assert runs.swap(a_run("nobody"), before=a_run("nobody"), version=1) is None
    assert runs.load("nobody") is None


def test_what_json_cannot_say_is_refused(runs: RunStore) -> None:
    seen = runs.version_of("r1")
    with pytest.raises((TypeError, ValueError), match="r1"):
        runs.swap(a_run(vars={"bad": object()}), before=a_run(), version=seen)
    assert runs.version_of("r1") == seen


def count_up(runs: RunStore) -> None:
    for _ in range(EACH):
        while True:
            version = runs.version_of("r1")
            before = runs.load("r1")
            assert before is not None
            more = replace(before, vars={"n": before.vars["n"] + 1})
            if runs.swap(more, before=before, version=version) is not None:
                break


def test_no_update_of_threads_is_lost(place: str, runs: RunStore) -> None:
    start = threading.Barrier(3)

    def work(_: int) -> None:
        mine = runs if place.startswith("memory") else opened(place)
        start.wait(timeout=30)
        count_up(mine)

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
    run = runs.load("r1")
    assert run is not None
    assert run.vars == {"n": 3 * EACH}


def _count_up_at(place: str) -> None:
    count_up(opened(place))


def test_no_update_of_processes_is_lost(place: str, runs: RunStore) -> None:
    if place.startswith("memory"):
        pytest.skip("lives in one process")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_count_up_at, args=(place,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    run = runs.load("r1")
    assert run is not None
    assert run.vars == {"n": 2 * EACH}
