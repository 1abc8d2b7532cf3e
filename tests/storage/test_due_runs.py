"""What is due, in pages, in every store (`spec/02 §15`, S-10)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    FileArtifactStore,
    InMemoryRunStore,
    JsonFileRunStore,
    OffloadingRunStore,
    RunState,
    RunStatus,
    SqliteDatabase,
    SqliteRunStore,
    WaitReason,
    WaitState,
)
from abstractruntime.storage.due_runs import DueRunStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.run_store import SqlRunStore

NOW = "2026-01-01T12:00:00+00:00"


@pytest.fixture(params=["memory", "files", "sqlite", "postgresql", "offloading"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemoryRunStore()
    elif request.param == "files":
        yield JsonFileRunStore(tmp_path)
    elif request.param == "offloading":
        yield OffloadingRunStore(InMemoryRunStore(), artifact_store=FileArtifactStore(tmp_path))
    elif request.param == "sqlite":
        file = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield SqliteRunStore(file)
        file.close()
    else:
        database = open_database(request.getfixturevalue("postgres_url"))
        migrate.upgrade(database)
        yield SqlRunStore(database)
        database.close()


def waits(
    run_id: str, until: str | None, reason: WaitReason = WaitReason.UNTIL, *, paused: bool = False
) -> RunState:
    return RunState(
        run_id=run_id,
        workflow_id=f"w-{run_id}",
        status=RunStatus.WAITING,
        current_node="n",
        vars={"_runtime": {"control": {"paused": paused}}},
        waiting=WaitState(reason=reason, wait_key="k", until=until, resume_to_node="n"),
        created_at=NOW,
        updated_at=NOW,
    )


def due(store: Any, **options: Any) -> list[str]:
    return [run.run_id for run in store.list_due(now_iso=NOW, **options)]


def test_all_that_is_due_earliest_first(store: Any) -> None:
    assert isinstance(store, DueRunStore)
    store.save(waits("late", "2026-01-01T11:59:59Z"))
    store.save(waits("same", NOW))
    store.save(waits("offset", "2026-01-01T13:30:00+02:00"))
    store.save(waits("event", "2026-01-01T01:00:00+00:00", WaitReason.EVENT))
    store.save(waits("user", "2026-01-01T02:00:00+00:00", WaitReason.USER))
    store.save(waits("future", "2026-01-01T12:00:00.000001+00:00"))
    store.save(waits("for ever", None, WaitReason.EVENT))
    store.save(waits("paused", "2025-01-01T00:00:00+00:00", paused=True))
    store.save(waits("unreadable", "someday"))
    assert due(store) == ["unreadable", "event", "user", "offset", "late", "same"]
    assert store.list_due(now_iso=NOW)[1] == (1767229200.0, "event", "w-event")


def test_page_by_page(store: Any) -> None:
    for number in range(5):
        store.save(waits(f"r{number}", "2026-01-01T01:00:00+00:00"))
    first = store.list_due(now_iso=NOW, limit=2)
    second = store.list_due(now_iso=NOW, after=first[-1], limit=2)
    third = store.list_due(now_iso=NOW, after=second[-1], limit=2)
    assert [run.run_id for run in (*first, *second, *third)] == ["r0", "r1", "r2", "r3", "r4"]
    assert store.list_due(now_iso=NOW, limit=0) == []


def test_what_goes_on_is_not_due_any_more(store: Any) -> None:
    run = waits("r", "2026-01-01T01:00:00+00:00", WaitReason.EVENT)
    store.save(run)
    store.save(replace(run, status=RunStatus.RUNNING, waiting=None))
    assert due(store) == []
    store.save(run)
    assert due(store) == ["r"]
    store.save(replace(run, status=RunStatus.CANCELLED))
    assert due(store) == []


def test_a_run_that_was_deleted_is_not_due(store: Any) -> None:
    store.save(waits("r", "2026-01-01T01:00:00+00:00", WaitReason.EVENT))
    assert store.delete("r", force=True)
    assert due(store) == []


def test_another_store_over_the_same_files_knows(tmp_path: Path) -> None:
    JsonFileRunStore(tmp_path).save(waits("r", "2026-01-01T01:00:00+00:00", WaitReason.EVENT))
    again = JsonFileRunStore(tmp_path)
    assert due(again) == ["r"]
    assert "wakes" not in again.list_run_index()[0]
