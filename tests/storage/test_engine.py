"""Connections: errors with a remedy and without secrets, lost connections, forks, callers' transactions."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import psycopg
import pytest
from sqlalchemy import create_engine, text

from abstractruntime.core.errors import ConfigurationError, ServiceUnavailableError
from abstractruntime.storage.checkpoints import Event, Write, Written
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.commit import write_run
from abstractruntime.storage.sql.driver import PooledSession, Session
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.statements import statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer
from tests.storage.runs import a_record, a_run, insert, loaded, moved

_CUT_OTHERS = statement(
    "SELECT 1",
    postgresql="SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()",
)


@pytest.fixture
def postgres_store(postgres_url: str) -> Iterator[SqlCheckpointStore]:
    database = open_database(postgres_url)
    migrate.upgrade(database)
    yield SqlCheckpointStore(database)
    database.close()


def _cut_all_connections(url: str) -> None:
    other = open_database(url)
    other.read(lambda session: session.execute(_CUT_OTHERS).fetchall())
    other.close()


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://h/db", "sqlite://", "sqlite:///:memory:", "http://x"]
)
def test_urls_that_cannot_be_used(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"sqlite:///|DATABASE_URL"):
        open_database(url)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+psycopg2"])
def test_any_postgresql_url_means_psycopg_3(scheme: str) -> None:
    database = open_database(f"{scheme}://u:p@example.org/db")
    assert database.url.drivername == "postgresql+psycopg"
    assert database.address == "PostgreSQL at postgresql://u:***@example.org/db"


def test_an_unreachable_server_is_named_without_the_password() -> None:
    for url in (
        "postgresql://me:s3cret@127.0.0.1:1/runs",
        "postgresql://me@127.0.0.1:1/runs?password=s3cret",
    ):
        database = open_database(url)
        with pytest.raises(ServiceUnavailableError, match=r"127\.0\.0\.1:1/runs.*can't be reached") as caught:
            SqlCheckpointStore(database).load("r1")
        assert "s3cret" not in str(caught.value)
        assert caught.value.__cause__ is None


def test_a_wrong_password_says_so(postgres_url: str) -> None:
    if os.environ.get("DATABASE_URL"):
        pytest.skip("an external server may trust every local user")
    database = open_database(open_database(postgres_url).url.set(password="wr0ng-pass"))
    with pytest.raises(ServiceUnavailableError, match="password") as caught:
        migrate.upgrade(database)
    assert "wr0ng-pass" not in str(caught.value)


def test_a_missing_schema_is_a_clear_error(postgres_url: str) -> None:
    store = SqlCheckpointStore(open_database(postgres_url))
    with pytest.raises(ServiceUnavailableError, match="schema"):
        store.load("r1")
    store.database.close()


def test_reads_and_units_survive_cut_connections(
    postgres_store: SqlCheckpointStore, postgres_url: str
) -> None:
    before = insert(postgres_store, a_run())
    _cut_all_connections(postgres_url)
    assert loaded(postgres_store, "r1").version == 1
    _cut_all_connections(postgres_url)
    with postgres_store.unit() as unit:
        assert unit.write(Write(before, before.run)) is Written.OK
    _cut_all_connections(postgres_url)
    assert postgres_store.ledger("r1") == []


def test_a_read_is_repeated_when_the_driver_does_not_know_yet_that_its_connection_is_gone(
    postgres_store: SqlCheckpointStore,
) -> None:
    insert(postgres_store, a_run())
    used: list[PooledSession] = []

    def read(session: Session) -> list[tuple[int]]:
        used.append(cast(PooledSession, session))
        if len(used) == 1:
            raise psycopg.OperationalError("connection socket closed")  # as psycopg's waiting says it
        return list(session.execute(statement("SELECT 1")).fetchall())

    assert postgres_store.database.read(read) == [(1,)]
    assert used[0] is not used[1]
    assert cast("psycopg.Connection[object]", used[0].connection).closed


def test_a_write_on_a_cut_connection_says_that_its_outcome_is_unknown(
    postgres_store: SqlCheckpointStore, postgres_url: str
) -> None:
    before = insert(postgres_store, a_run())
    _cut_all_connections(postgres_url)
    with pytest.raises(ServiceUnavailableError, match="may or may not have happened"):
        postgres_store.commit(Write(before, before.run))
    assert postgres_store.commit(Write(before, before.run)) is Written.OK


def test_a_connection_cut_inside_a_unit_undoes_it(
    postgres_store: SqlCheckpointStore, postgres_url: str
) -> None:
    before = insert(postgres_store, a_run())

    def spoiled() -> None:
        with postgres_store.unit() as unit:
            assert unit.write(Write(before, before.run, records=[a_record(before.run)])) is Written.OK
            _cut_all_connections(postgres_url)
            unit.insert(a_run("r2"), depth=0, wake_at=None)

    with pytest.raises(ServiceUnavailableError, match="connection was lost"):
        spoiled()
    assert loaded(postgres_store, "r1").version == 1
    assert postgres_store.ledger("r1") == []
    assert postgres_store.load("r2") is None


def test_a_failure_that_was_passed_over_is_no_silent_rollback(postgres_store: SqlCheckpointStore) -> None:
    database = postgres_store.database

    def write() -> None:
        with database.atomic():
            insert(postgres_store, a_run())
            with pytest.raises(Exception, match="division by zero"):
                database.write_once(lambda session: session.execute(statement("SELECT 1/0")).fetchone())

    with pytest.raises(ServiceUnavailableError, match="nothing of it was written"):
        write()
    assert postgres_store.load("r1") is None


def test_a_restarted_server_is_found_again(tmp_path: Path, postgres_server: PostgresServer) -> None:
    if os.environ.get("DATABASE_URL"):
        pytest.skip("an external server is not ours to restart")
    name = f"restart_{os.getpid()}"
    store = SqlCheckpointStore(open_database(create_database(postgres_server.url, name)))
    migrate.upgrade(store.database)
    before = insert(store, a_run())
    postgres_server.stop()
    with pytest.raises(ServiceUnavailableError):
        store.load("r1")
    with pytest.raises(ServiceUnavailableError):
        store.commit(Write(before, before.run))
    postgres_server.ensure_running()
    assert loaded(store, "r1").version == 1
    moved(store, before, before.run)
    store.database.close()


def test_an_interrupted_statement_does_not_spoil_the_next_user(postgres_store: SqlCheckpointStore) -> None:
    """A task's time limit raises out of the middle of a statement."""

    class TimeLimitError(Exception):
        pass

    def ring(number: int, frame: object) -> None:
        raise TimeLimitError

    sleep = statement("SELECT 1", postgresql="SELECT pg_sleep(30)")
    old = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(TimeLimitError):
            postgres_store.database.read(lambda session: session.execute(sleep).fetchall())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    insert(postgres_store, a_run())
    assert loaded(postgres_store, "r1").version == 1


def test_a_forked_child_has_connections_of_its_own(database: Database) -> None:
    store = SqlCheckpointStore(database)
    before = insert(store, a_run())
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            seen = store.load("r1")
            if seen is not None and store.commit(Write(seen, seen.run)) is Written.OK:
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    after = loaded(store, "r1")
    assert after.version == 2
    assert store.commit(Write(before, before.run)) is Written.CONFLICT
    moved(store, after, after.run)


def test_a_fork_while_another_thread_writes_leaves_the_child_free(database: Database) -> None:
    store = SqlCheckpointStore(database)
    with store.unit() as unit:
        unit.insert(a_run(), depth=0, wake_at=None)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = 0 if store.load("r1") is None else 1  # not committed yet
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
    assert loaded(store, "r1").version == 1


def test_a_unit_joins_a_callers_transaction(database: Database) -> None:
    store = SqlCheckpointStore(database)
    engine = database.engine
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id TEXT)"))

    def place(order: str, *, fail: bool) -> None:
        with engine.begin() as connection:
            unit = store.unit_on(connection)
            connection.execute(text("INSERT INTO orders VALUES (:id)"), {"id": order})
            assert unit.insert(a_run(order), depth=0, wake_at=unit.now)
            assert not unit.insert(a_run(order), depth=0, wake_at=unit.now)
            unit.lock_keys(["k"])
            assert unit.add_event(Event(f"e-{order}", "k", {})) is not None
            assert unit.waiting_on(["k"]) == []
            seen = unit.load(order)
            assert seen is not None
            assert unit.write(Write(seen, seen.run, records=[a_record(seen.run)])) is Written.OK
            if fail:
                raise LookupError(order)

    place("good", fail=False)
    with pytest.raises(LookupError):
        place("bad", fail=True)
    assert loaded(store, "good").version == 2
    assert store.load("bad") is None
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM orders")).scalars().all() == ["good"]


def test_a_unit_begins_the_callers_transaction(database: Database) -> None:
    store = SqlCheckpointStore(database)
    with database.engine.connect() as connection:
        store.unit_on(connection).insert(a_run("undone"), depth=0, wake_at=None)
        connection.rollback()
        store.unit_on(connection).insert(a_run("kept"), depth=0, wake_at=None)
        connection.commit()
    assert store.load("undone") is None
    assert store.load("kept") is not None


def test_a_transaction_of_another_system_cannot_be_joined(
    postgres_store: SqlCheckpointStore, sqlite_url: str
) -> None:
    engine = create_engine(sqlite_url)
    with engine.connect() as connection, pytest.raises(ConfigurationError, match="same database"):
        postgres_store.unit_on(connection)
    engine.dispose()


def test_steps_of_a_run_stay_heap_only_updates(postgres_store: SqlCheckpointStore) -> None:
    """No index of `runs` may hold a column that moves with every step."""
    before = insert(postgres_store, a_run(), wake_at=100.0)
    hot = statement(
        "", postgresql="SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'runs'"
    )
    with postgres_store.database.transaction() as session:
        for i in range(5):
            run = replace(before.run, current_node=f"n{i}", updated_at=f"2027-01-01T00:00:0{i}+00:00")
            assert write_run(session, Write(before, run, wake_at=100.0, attempts=i)) is Written.OK
            before = replace(before, run=run, version=before.version + 1)
        updated, heap_only = session.execute(hot).fetchone()
    assert (updated, heap_only) == (5, 5)
    assert loaded(postgres_store, "r1").run.updated_at == "2027-01-01T00:00:04+00:00"
