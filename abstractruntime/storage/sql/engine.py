"""A database and its connections.

Statements of the store run on connections of its own, in autocommit, taken from a small last-in-first-out
pool: the hot path pays for nothing else. `Database.engine` is an ordinary SQLAlchemy engine to the same
database for migrations and for callers who join our writes to their transaction.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from weakref import WeakSet, WeakValueDictionary, finalize

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.pool import NullPool

from abstractruntime.core.errors import ConfigurationError

from ..driver_locks import driver_locks
from .driver import Dialect, PooledSession, Session, lost_by
from .postgres_dialect import PostgresDialect
from .sqlite_dialect import BUSY_TIMEOUT_S, LOCK_PATIENCE_S, SqliteDialect
from .transactions import Transaction

__all__ = ["Database", "open_database"]

MAX_IDLE = 16
T = TypeVar("T")


class _Atomic(threading.local):
    """The transaction this thread is in, see `Database.atomic`.

    Attributes:
        afterwards: what is called once it has committed.
    """

    session: Session | None = None
    afterwards: tuple[Callable[[], None], ...] = ()


class LockDomain:
    """Shared by all `Database` objects of this process with the same address: what guards one guards all,
    and what one has begun together the others take part in (else they would wait for it, in the same
    thread). Of a SQLite file, ``drivers`` tells what other processes are driving."""

    def __init__(self, url: URL, dialect: Dialect) -> None:
        self.atomic = _Atomic()
        self.drivers = (
            driver_locks(Path(f"{url.database}-drivers")) if isinstance(dialect, SqliteDialect) else None
        )


class Database:
    """Safe to share among threads; a forked child starts with connections of its own.

    Make it with `open_database`; it connects at first use.
    """

    def __init__(self, url: URL, dialect: Dialect) -> None:
        self.url = url
        self.dialect = dialect
        self._idle: deque[PooledSession] = deque()
        self._finalizer = finalize(self, _close_all, self._idle)
        self._abandoned: list[object] = []
        self.write_lock = Lock()
        self.lock_domain = _domains.setdefault(
            url.render_as_string(hide_password=False), LockDomain(url, dialect)
        )
        self._atomic = self.lock_domain.atomic
        self._engine: Engine | None = None
        self._engine_lock = Lock()
        _databases.add(self)

    @property
    def address(self) -> str:
        """Where the database is, for people; without its password."""
        return self.dialect.address

    @property
    def engine(self) -> Engine:
        """A SQLAlchemy engine to the same database, made at first use, without a pool."""
        with self._engine_lock:
            if self._engine is None:
                self._engine = _make_engine(self.url, self.dialect)
            return self._engine

    # --- statements ---------------------------------------------------------------------------------

    def read(self, work: Callable[[Session], T]) -> T:
        """Run reading statements, in autocommit. A lost connection is replaced once, unnoticed."""
        if self._atomic.session is not None:
            return work(self._atomic.session)
        session = self.take()
        try:
            return work(session)
        except self.dialect.errors as exc:
            if not lost_by(exc, session):
                raise self.dialect.translate(exc) from exc
        finally:
            self.give(session)
        return self.write_once(work)

    def write_once(self, work: Callable[[Session], T]) -> T:
        """Run one writing statement, in autocommit. Not repeated when the connection is lost.

        Raises:
            ServiceUnavailableError: the connection was lost; the write may or may not have happened.
        """
        if self._atomic.session is not None:
            return work(self._atomic.session)
        session = self.take()
        try:
            return work(session)
        except self.dialect.errors as exc:
            raise self.dialect.translate(exc) from exc
        finally:
            self.give(session)

    def transaction(self) -> Transaction:
        """A write transaction: commits when its context ends, undoes everything on an exception. Inside
        `atomic` it is a part of that transaction which can be undone by itself."""
        return Transaction(self, self._atomic.session)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Everything this thread does with the database inside, also through other objects for the same
        address, commits together or not at all."""
        joined = self._atomic
        if joined.session is not None:
            yield
            return
        try:
            with Transaction(self, None) as session:
                joined.session = session
                try:
                    yield
                finally:
                    joined.session = None
        finally:
            afterwards, joined.afterwards = joined.afterwards, ()
        for call in afterwards:
            call()

    def after_commit(self, call: Callable[[], None]) -> bool:
        """Have this called, in this thread, once the `atomic` transaction it is in has committed; never, if
        that is undone. False if the thread is in none: what it has written is committed already."""
        if self._atomic.session is None:
            return False
        self._atomic.afterwards += (call,)
        return True

    # --- connections --------------------------------------------------------------------------------

    def take(self) -> PooledSession:
        """A connection of the caller's own until `give`."""
        try:
            return self._idle.pop()
        except IndexError:
            return self.dialect.connect()

    def give(self, session: PooledSession) -> None:
        """Return a connection; one that is not fit for others is closed."""
        if self.dialect.is_clean(session) and len(self._idle) < MAX_IDLE:
            self._idle.append(session)
            return
        if self.dialect.is_lost(session):
            # Most likely the server went away, and the idle connections are lost as well.
            _close_all(self._idle)
        session.connection.close()

    def close(self) -> None:
        """Close idle connections. The database may be used again afterwards."""
        _close_all(self._idle)
        with self._engine_lock:
            if self._engine is not None:
                self._engine.dispose()

    def after_fork(self) -> None:
        """In a forked child: leave the parent's connections alone and start with none.

        Called by itself after `os.fork`. They are kept referenced, because closing them would say goodbye
        to the server on the parent's socket.
        """
        self._finalizer.detach()
        self._abandoned.append(self._idle)
        self._idle = deque()
        self._finalizer = finalize(self, _close_all, self._idle)
        self.write_lock = Lock()
        self._engine_lock = Lock()
        if self._engine is not None:
            self._engine.dispose(close=False)


def _close_all(sessions: deque[PooledSession]) -> None:
    while True:
        try:
            session = sessions.pop()
        except IndexError:
            return
        session.connection.close()


def open_database(
    url: str | URL,
    *,
    synchronous: str = "NORMAL",
    busy_timeout_s: float = BUSY_TIMEOUT_S,
    lock_patience_s: float = LOCK_PATIENCE_S,
    prepared_statements: bool = True,
) -> Database:
    """The database at ``url``: ``sqlite:///path/to/file.db`` or ``postgresql://user:password@host/name``.

    Args:
        synchronous: SQLite only: ``"NORMAL"`` (default) or ``"FULL"`` (commits survive a power cut).
        busy_timeout_s: SQLite only: seconds SQLite waits for another process's write, 15 by default.
        lock_patience_s: SQLite only: seconds after which a transaction that can't begin for another
            process's lock gives up, 45 by default: longer than SQLite's own wait, which is not fair to all
            processes of a fleet.
        prepared_statements: PostgreSQL only: False behind a pooler in transaction mode that can't keep
            them.

    Raises:
        ConfigurationError: the URL can't be used.
        ServiceUnavailableError: the SQLite file can't be written to. (PostgreSQL is contacted at first use.)
    """
    parsed = _parse(url)
    backend = parsed.get_backend_name()
    if backend == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
        return Database(parsed, PostgresDialect(parsed, prepared_statements=prepared_statements))
    if backend == "sqlite":
        if synchronous.upper() not in ("NORMAL", "FULL", "EXTRA"):
            raise ConfigurationError(f"synchronous must be NORMAL or FULL, not {synchronous!r}")
        if not parsed.database or parsed.database == ":memory:" or parsed.database.startswith("file:"):
            raise ConfigurationError(
                "A SQLite database must be a plain file, e.g. sqlite:///runs.db; for tests without a "
                "file use InMemoryCheckpointStore."
            )
        dialect = SqliteDialect(
            Path(parsed.database).expanduser().resolve(),
            synchronous=synchronous.upper(),
            busy_timeout_s=busy_timeout_s,
            patience_s=lock_patience_s,
        )
        return Database(parsed.set(database=str(dialect.path)), dialect)
    raise ConfigurationError(
        f"DATABASE_URL names {backend!r}; supported are sqlite:///file.db and postgresql://user:pw@host/name"
    )


def _parse(url: str | URL) -> URL:
    if isinstance(url, URL):
        return url
    text = url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # The text may hold a password, so it is not quoted.
        raise ConfigurationError(
            "DATABASE_URL is not a database URL; write it like sqlite:///runs.db or "
            "postgresql://user:password@host:5432/name (with special characters percent-encoded)"
        ) from None


def _make_engine(url: URL, dialect: Dialect) -> Engine:
    engine = create_engine(url, poolclass=NullPool)
    if isinstance(dialect, SqliteDialect):
        configure = dialect.configure

        @event.listens_for(engine, "connect")
        def _configure(connection: sqlite3.Connection, _record: Any) -> None:
            configure(connection)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


_databases: WeakSet[Database] = WeakSet()
_domains: WeakValueDictionary[str, LockDomain] = WeakValueDictionary()


def _after_fork() -> None:
    for database in list(_databases):
        database.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
