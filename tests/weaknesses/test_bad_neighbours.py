"""A damaged run or a busy file hinders nobody else (`spec/02 §15.2` D-10, §15.3 S-13 and S-14)."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import RunStatus, create_scheduled_runtime
from abstractruntime.core.models import EffectType
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.sql import sqlite_dialect
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.kernel.flows import asks, done, flow
from tests.storage.runs import a_run

SHAPES = ["[]", "null", '{"run_id": "bad"}', '{"run_id": "bad", "status": "odd"}', "{", "\ufffd\ufffd"]


@pytest.mark.weakness("spec/02 D-10")
@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("kind", ["files", "sqlite"])
def test_timers_fire_beside_a_damaged_run(kind: str, tmp_path: Path, text: str) -> None:
    runs, ledger = _stores(kind, tmp_path)
    sr = create_scheduled_runtime(run_store=runs, ledger_store=ledger, auto_start=False)
    timer = flow(wait=asks(EffectType.WAIT_UNTIL, {"until": "2999-01-01T00:00:00Z"}), done=done)
    run_ids = [sr.run(timer)[0] for _ in range(2)]
    for run_id in run_ids:
        run = runs.load(run_id)
        run.waiting.until = "2026-01-01T00:00:00.000000+00:00"
        runs.save(run)
    bad, good = run_ids
    if kind == "files":
        (tmp_path / f"run_{bad}.json").write_text(text, encoding="utf-8")
    else:
        other = sqlite3.connect(tmp_path / "runs.db")
        other.execute("UPDATE runs SET run_json = ? WHERE run_id = ?", (text, bad))
        other.commit()
        other.close()
    sr.scheduler.poll_once()
    assert sr.get_state(good).status is RunStatus.COMPLETED
    assert [run.run_id for run in runs.list_runs()] == [good]
    sr.stop()


def _stores(kind: str, tmp_path: Path) -> tuple[Any, Any]:
    if kind == "files":
        return JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    database = SqliteDatabase(tmp_path / "runs.db")
    return SqliteRunStore(database), SqliteLedgerStore(database)


@pytest.mark.weakness("spec/02 S-13")
def test_threads_that_come_and_go_share_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(tmp_path / "runs.db")
    runs = SqliteRunStore(database)
    opened: list[object] = []
    connect = database.database.dialect.connect
    monkeypatch.setattr(database.database.dialect, "connect", lambda: opened.append(1) or connect())
    for number in range(50):
        thread = threading.Thread(target=runs.save, args=(a_run(f"r{number}"),))
        thread.start()
        thread.join()
    assert len(opened) <= 1
    assert len(runs.list_runs(limit=100)) == 50
    database.close()


@pytest.mark.weakness("spec/02 S-14")
def test_a_writer_waits_for_a_busy_file_and_then_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own patience is over at once here; ours is not."""
    database = SqliteDatabase(tmp_path / "runs.db")
    runs = SqliteRunStore(database)
    session = database.database.take()
    session.connection.execute("PRAGMA busy_timeout=0", {})
    database.database.give(session)
    other = sqlite3.connect(tmp_path / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 5:
            other.execute("COMMIT")

    monkeypatch.setattr(sqlite_dialect.time, "sleep", wait)
    runs.save(a_run())
    assert len(waited) == 5
    assert runs.load("r1") is not None
    other.close()
    database.close()
