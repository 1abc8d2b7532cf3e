"""The disk is full or the database is read-only: a clear error, nothing half written, and work goes on once
that is mended (`DESIGN §4`).

A full disk is a file-size limit (RLIMIT_FSIZE). For SQLite it is set on the running worker. PostgreSQL is
started with it, when the ledger's file already lacks only half a page to the limit: extending the file fails
as on a full disk, with SQLSTATE 53100. PostgreSQL's own log segments of 16 MB stay below.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from abstractruntime.core.errors import ServiceUnavailableError
from abstractruntime.storage.sql.engine import Database
from abstractruntime.testing.servers import PostgresServer
from tests.poll import eventually

from .fleet import CrashFleet

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform != "linux", reason="limits other processes as only Linux can"),
]
ROW = pytest.mark.failure("disk full / database read-only")
own_postgres = pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="needs a server of its own")

PAGE = 8192
PAGES = 2048


@contextmanager
def _files_limited_to(size: int, pid: int = 0) -> Iterator[None]:
    """No file of this process (0: of ours, and so of those we start) can grow beyond ``size`` bytes."""
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def _until_told(fleet: CrashFleet, *words: str) -> None:
    log = fleet.folder / "a.log"
    eventually(
        lambda: all(word in log.read_text() for word in words), timeout=60, message=f"nobody says {words}"
    )


def _assert_stands(fleet: CrashFleet, run_id: str) -> None:
    """Nothing of the refused step is there."""
    checkpoint = fleet.client.checkpoint(run_id)
    assert checkpoint.version == 1
    assert checkpoint.ledger_seq == 0
    assert fleet.client.ledger(run_id) == []


@ROW
@own_postgres
def test_postgres_out_of_disk(fleet: CrashFleet, postgres_server: PostgresServer) -> None:
    fleet.sql("ALTER TABLE ledger ALTER record_json SET STORAGE PLAIN")
    fleet.sql(
        "INSERT INTO ledger (run_id, seq, record_json) "
        f"SELECT 'ballast', n, repeat('x', 8000) FROM generate_series(1, {PAGES}) AS n"
    )
    assert fleet.sql("SELECT pg_relation_size('ledger')") == [(PAGES * PAGE,)]
    run_ids = [fleet.client.start("chain", {"steps": 3}) for _ in range(3)]
    family = fleet.client.start("family")
    postgres_server.stop()
    try:
        with _files_limited_to(PAGES * PAGE + PAGE // 2):
            postgres_server.start()
        fleet.worker("a")
        fleet.beat()
        _until_told(fleet, "out of disk", "Nothing was written")
        for run_id in (*run_ids, family):
            _assert_stands(fleet, run_id)
        assert fleet.client.list(parent_run_id=family) == []
    finally:
        postgres_server.restart()
    for run_id in (*run_ids, family):
        fleet.finished(run_id)


@ROW
def test_a_read_only_postgres(fleet: CrashFleet) -> None:
    run_id = fleet.client.start("family")
    waiting = fleet.client.start("ask")
    name = fleet.sql("SELECT current_database()")[0][0]
    fleet.sql(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    fleet.cut_connections()
    fleet.worker("a")
    fleet.beat()
    _until_told(fleet, "read-only", "point DATABASE_URL at the primary")
    with pytest.raises(ServiceUnavailableError, match="The database is read-only"):
        fleet.client.start("chain", {"steps": 1}, run_id="refused")
    for run in (run_id, waiting):
        _assert_stands(fleet, run)
    assert len(fleet.client.list()) == 2
    fleet.sql(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    fleet.cut_connections()
    fleet.waits(waiting)
    fleet.client.respond(waiting, {"answer": "yes"})
    for run in (run_id, waiting):
        fleet.finished(run)


@pytest.fixture
def small_fleet(sqlite_url: str, redis_url: str, tmp_path: Path) -> Iterator[CrashFleet]:
    """A fleet on SQLite."""
    running = CrashFleet(sqlite_url, redis_url, tmp_path / "fleet")
    try:
        yield running
        running.halt()
        running.assert_whole()
    finally:
        running.stop()


@ROW
def test_sqlite_out_of_disk(small_fleet: CrashFleet) -> None:
    worker = small_fleet.worker("a")
    waiting = small_fleet.client.start("ask")
    small_fleet.waits(waiting)
    wal = Path(small_fleet.database_url.removeprefix("sqlite:///") + "-wal")
    run_id = small_fleet.client.start("family", run_id="later")
    small_fleet.lose_messages()
    with _files_limited_to(wal.stat().st_size, worker.pid):
        small_fleet.beat()
        _until_told(small_fleet, "disk")
        version = small_fleet.client.checkpoint(run_id).version
        ledger = small_fleet.client.ledger(run_id)
        eventually(lambda: small_fleet.log("a").count("disk I/O error") > 2, timeout=60)
        assert small_fleet.client.checkpoint(run_id).version == version
        assert small_fleet.client.ledger(run_id) == ledger
    small_fleet.client.respond(waiting, {"answer": "yes"})
    for run in (run_id, waiting):
        small_fleet.finished(run)


@ROW
def test_a_read_only_sqlite(small_fleet: CrashFleet) -> None:
    """In this process: a file's mode does not stop root, so the connections are told to refuse."""
    database: Database = small_fleet.client.store.database
    run_id = small_fleet.client.start("chain", {"steps": 1})

    def read_only(on: bool) -> None:
        session = database.take()
        session.connection.execute(f"PRAGMA query_only = {on:d}")
        database.give(session)

    database.close()
    read_only(True)
    with pytest.raises(ServiceUnavailableError, match=r"readonly.*make file and folder writable"):
        small_fleet.client.start("chain", {"steps": 1}, run_id="refused")
    with pytest.raises(ServiceUnavailableError, match="readonly"):
        small_fleet.client.cancel(run_id)
    _assert_stands(small_fleet, run_id)
    assert [run.run_id for run in small_fleet.client.list()] == [run_id]
    read_only(False)
    small_fleet.worker("a")
    small_fleet.beat()
    small_fleet.finished(run_id)
