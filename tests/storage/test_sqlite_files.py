"""What is special to SQLite files (`spec/02 §6`): settings, contract tables, damage, permissions."""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import sqlite3
import stat
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.errors import ConfigurationError, ServiceUnavailableError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.driver import Cursor, Parameters, Session
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.sqlite_dialect import SqliteSession
from abstractruntime.storage.sql.statements import BEGIN, Statement, statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.storage.runs import a_record, a_run, insert, loaded, moved, waiting_until

DUE = "2026-01-01T00:00:00.000000+00:00"


@pytest.fixture
def db(tmp_path: Path) -> Any:
    opened = SqliteDatabase(tmp_path / "deep" / "er" / "runs.sqlite3")
    yield opened
    opened.close()


@pytest.mark.weakness("spec/02 U-3")
def test_the_file_is_private_to_its_owner(db: SqliteDatabase) -> None:
    SqliteRunStore(db).save(a_run())
    for path in db.path.parent.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert {path.name for path in db.path.parent.iterdir()} >= {"runs.sqlite3", "runs.sqlite3-wal"}


def test_the_path_is_expanded_and_memory_is_a_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given, path in (("~/x.db", tmp_path / "x.db"), (":memory:", tmp_path / ":memory:")):
        db = SqliteDatabase(given)
        assert db.path == path.resolve()
        assert path.exists()
        db.close()


def _busy_timeout(session: Session) -> int:
    return int(session.execute(statement("PRAGMA busy_timeout")).fetchone()[0])


def test_connection_settings(db: SqliteDatabase) -> None:
    connection = db.connection()
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 1
    assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert connection.execute("PRAGMA busy_timeout").fetchone()[0] == 5000
    assert db.database.read(_busy_timeout) == 5000
    assert connection.execute("SELECT 1 AS one").fetchone()["one"] == 1
    assert db.connection() is connection


def _pages(connection: sqlite3.Connection) -> tuple[int, int]:
    """Bytes of a page; pages of log before it is copied into the file."""
    size, log = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_size", "wal_autocheckpoint")
    )
    return size, log


def test_a_new_file_has_small_pages_and_one_that_is_there_keeps_its_own(
    db: SqliteDatabase, tmp_path: Path
) -> None:
    assert _pages(db.connection()) == (2048, 8192)
    with contextlib.closing(sqlite3.connect(tmp_path / "old.db")) as old:
        old.execute("CREATE TABLE other (id)")
        assert _pages(old)[0] == 4096
    adopted = SqliteDatabase(tmp_path / "old.db")
    SqliteRunStore(adopted).save(a_run("kept"))
    assert _pages(adopted.connection()) == (4096, 4096)
    adopted.close()
    with contextlib.closing(SqliteDatabase(tmp_path / "old.db")) as again:
        again.connection().execute("VACUUM")
        assert _pages(again.connection()) == (4096, 4096)
        assert loaded(SqliteRunStore(again), "kept").run_id == "kept"


def test_full_synchronous_on_request(sqlite_url: str) -> None:
    database = open_database(sqlite_url, synchronous="full")
    session = database.take()
    assert session.connection.execute("PRAGMA synchronous", {}).fetchone()[0] == 2
    database.give(session)
    database.close()
    with pytest.raises(ConfigurationError, match="synchronous"):
        open_database(sqlite_url, synchronous="off; DROP TABLE runs")


@pytest.mark.weakness("spec/02 S-13")
def test_each_thread_has_its_own_connection_and_ended_ones_are_closed(db: SqliteDatabase) -> None:
    seen: list[sqlite3.Connection] = []
    together = threading.Barrier(5)

    def work() -> None:
        seen.append(db.connection())
        together.wait(timeout=30)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(connection) for connection in seen}) == 5
    mine = db.connection()  # looks for those of ended threads
    assert mine not in seen
    for connection in seen:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")


def test_close_may_be_followed_by_use(db: SqliteDatabase) -> None:
    runs = SqliteRunStore(db)
    runs.save(a_run())
    connection = db.connection()
    db.close()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")
    assert runs.load("r1") is not None
    assert db.connection().execute("SELECT count(*) FROM runs").fetchone()[0] == 1


def test_contract_columns_and_text(db: SqliteDatabase) -> None:
    run = waiting_until(a_run(), DUE)
    SqliteRunStore(db).save(run)
    SqliteLedgerStore(db).append(a_record(run, result={"ü": 1}))
    connection = db.connection()
    row = connection.execute("SELECT * FROM runs").fetchone()
    assert (row["run_id"], row["status"], row["wait_reason"], row["wait_until"]) == (
        "r1",
        "waiting",
        "until",
        DUE,
    )
    assert row["run_json"].startswith('{"run_id": "r1", "workflow_id": "wf", "status": "waiting"')
    assert "grüß Gott" in row["run_json"]
    assert "\n" not in row["run_json"]
    record = connection.execute("SELECT seq, record_json FROM ledger").fetchone()
    assert record["seq"] == 1
    assert '"result": {"ü": 1}' in record["record_json"]


def _timed(db: SqliteDatabase) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in db.connection().execute("SELECT * FROM wait_index")]


def test_the_wait_index_is_exact_whoever_writes(db: SqliteDatabase) -> None:
    runs, store = SqliteRunStore(db), SqlCheckpointStore(db.database)
    run = waiting_until(a_run(), DUE)
    expected = [("r1", DUE, run.updated_at, "waiting_until")]
    runs.save(run)
    assert _timed(db) == expected
    runs.save(replace(run, status=RunStatus.CANCELLED))
    assert _timed(db) == []
    runs.save(waiting_until(a_run(), ""))
    assert _timed(db) == []
    before = insert(store, a_run("r2"))
    parked = moved(store, before, waiting_until(a_run("r2"), DUE))
    assert _timed(db) == [("r2", DUE, run.updated_at, "waiting_until")]
    moved(store, parked, a_run("r2"))
    assert _timed(db) == []


def test_fleet_commits_keep_the_ledger_head(db: SqliteDatabase) -> None:
    store = SqlCheckpointStore(db.database)
    before = insert(store, a_run())
    moved(store, before, before.run, records=[a_record(before.run), a_record(before.run)])
    assert tuple(db.connection().execute("SELECT * FROM ledger_heads").fetchone()) == ("r1", 2)


def test_a_damaged_head_is_refused(db: SqliteDatabase) -> None:
    ledger = SqliteLedgerStore(db)
    for _ in range(2):
        ledger.append(a_record(a_run()))
    db.connection().execute("UPDATE ledger_heads SET last_seq = 1")
    with pytest.raises(sqlite3.IntegrityError) as caught:
        ledger.append(a_record(a_run()))
    assert "UNIQUE constraint failed: ledger.run_id, ledger.seq" in str(caught.value)
    assert f"(run_id='r1', seq=2, db={db.path})" in str(caught.value)
    assert db.connection().execute("SELECT last_seq FROM ledger_heads").fetchone()[0] == 1
    assert len(ledger.list("r1")) == 2


def _append(path: str, name: str) -> None:
    db = SqliteDatabase(path)
    ledger = SqliteLedgerStore(db)
    for i in range(40):
        ledger.append(a_record(a_run(), f"{name}-{i}"))
    db.close()


def test_processes_append_to_one_run(db: SqliteDatabase) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_append, args=(str(db.path), f"p{n}")) for n in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=60)
    assert [process.exitcode for process in processes] == [0] * 4
    rows = db.connection().execute("SELECT seq FROM ledger WHERE run_id = 'r1' ORDER BY seq").fetchall()
    assert [row["seq"] for row in rows] == list(range(1, 161))


def test_a_folder_that_is_none_is_a_clear_error(tmp_path: Path) -> None:
    blocker = tmp_path / "file"
    blocker.write_text("x")
    with pytest.raises(ServiceUnavailableError, match=r"file/runs\.db.*can't be opened"):
        open_database(f"sqlite:///{blocker}/runs.db")


def test_a_file_that_is_no_database_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to have a header " * 40)
    with pytest.raises(ServiceUnavailableError, match=r"notes\.txt"):
        migrate.upgrade(open_database(f"sqlite:///{path}"))
    assert path.read_text().startswith("not a database")


@pytest.mark.weakness("spec/02 S-14")
def test_a_file_that_another_holds_locked_is_a_clear_error(sqlite_url: str) -> None:
    database = open_database(sqlite_url, busy_timeout_s=0.05, lock_patience_s=0.1)
    migrate.upgrade(database)
    store = SqlCheckpointStore(database)
    before = insert(store, a_run())
    other = sqlite3.connect(database.url.database or "", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(ServiceUnavailableError, match="locked"):
        moved(store, before, before.run)
    assert loaded(store, "r1").run == before.run
    other.execute("ROLLBACK")
    other.close()
    moved(store, before, before.run)
    database.close()


@pytest.mark.weakness("spec/02 S-14")
def test_a_writer_gives_up_when_sqlite_does_with_the_error_of_sqlite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spec/02 §6.1`: what a caller of the published package catches, after the 5 s he knows."""
    assert SqliteDatabase(tmp_path / "new.db").database.dialect.patience_s == 5.0  # type: ignore[attr-defined]
    db = SqliteDatabase(tmp_path / "runs.db", busy_timeout_s=0.05)
    ledger = SqliteLedgerStore(db)
    begun: list[Statement] = []
    execute = SqliteSession.execute

    def counting(self: SqliteSession, what: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        begun.extend([what] if what is BEGIN else [])
        return execute(self, what, params)

    monkeypatch.setattr(SqliteSession, "execute", counting)
    other = sqlite3.connect(db.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(sqlite3.OperationalError, match=r"runs\.db: database is locked\. .*end it") as caught:
        ledger.append(a_record(a_run()))
    assert len(begun) == 1
    assert isinstance(caught.value, ServiceUnavailableError)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    again = pickle.loads(pickle.dumps(caught.value))
    assert (type(again), str(again)) == (type(caught.value), str(caught.value))
    if sys.version_info >= (3, 11):
        assert caught.value.sqlite_errorcode == again.sqlite_errorcode == sqlite3.SQLITE_BUSY
    with pytest.raises(sqlite3.OperationalError, match="database is locked") as caught, db.database.atomic():
        raise AssertionError("never inside")
    other.execute("ROLLBACK")
    other.close()
    ledger.append(a_record(a_run()))
    db.close()


def test_an_error_that_is_translated_already_stays_as_it_is(db: SqliteDatabase) -> None:
    error = db.database.dialect.translate(sqlite3.OperationalError("database is locked"))
    assert db.database.dialect.translate(error) is error
    with pytest.raises(sqlite3.OperationalError) as caught, db.database.transaction():
        raise error
    assert caught.value is error


def test_a_full_disk_is_a_clear_error_and_writes_nothing(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    migrate.upgrade(database)
    store = SqlCheckpointStore(database)
    before = insert(store, a_run())
    session = database.take()
    session.connection.execute("PRAGMA max_page_count = 1", {})  # cut to what the file has now
    database.give(session)
    with pytest.raises(ServiceUnavailableError, match=r"full.*Nothing was written"):
        moved(store, before, a_run(vars={"big": "x" * 1_000_000}), records=[a_record(before.run)])
    kept = store.load("r1")
    assert kept is not None
    assert kept.version == 1
    assert store.ledger("r1") == []
    database.close()


def test_a_missing_schema_is_a_clear_error(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with pytest.raises(ServiceUnavailableError, match="schema"):
        SqlCheckpointStore(database).load("r1")
    database.close()
