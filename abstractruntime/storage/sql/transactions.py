"""Write transactions on a database's own connections."""

from __future__ import annotations

from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Protocol

from abstractruntime.core.errors import ServiceUnavailableError

from .driver import Dialect, PooledSession, Session, lost_by
from .statements import BEGIN_PART, KEEP_PART, ROLLBACK, UNDO_PART

__all__ = ["Transaction"]

WRITE_LOCK_PATIENCE_S = 60.0


class _Connections(Protocol):
    """The part of `engine.Database` that a transaction needs."""

    dialect: Dialect
    write_lock: Lock

    def take(self) -> PooledSession: ...
    def give(self, session: PooledSession) -> None: ...


class Transaction:
    """One write transaction, or a part (savepoint) of the ``outer`` one.

    On SQLite the writers of this process queue up here, in order, instead of in SQLite's busy handler.
    """

    __slots__ = ("_database", "_lock", "_outer", "_session")

    def __init__(self, database: _Connections, outer: Session | None) -> None:
        self._database = database
        self._outer = outer
        self._lock: Lock | None = None

    def __enter__(self) -> Session:
        if self._outer is not None:
            self._outer.execute(BEGIN_PART)
            return self._outer
        if self._database.dialect.serial_writes:
            self._lock = self._queue_up()
        try:
            self._session = self._begin()
        except BaseException:
            self._leave_queue()
            raise
        return self._session

    def _queue_up(self) -> Lock:
        lock = self._database.write_lock
        if lock.acquire(timeout=WRITE_LOCK_PATIENCE_S):
            return lock
        raise ServiceUnavailableError(
            f"{self._database.dialect.address}: another thread of this process has been writing for "
            f"{WRITE_LOCK_PATIENCE_S:.0f} s. Keep transactions short, and don't begin one inside another."
        )

    def _leave_queue(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _begin(self) -> PooledSession:
        """A connection that was lost while idle is found out here, where repeating is harmless."""
        database, dialect = self._database, self._database.dialect
        session = database.take()
        try:
            dialect.begin(session)
            return session
        except dialect.errors as exc:
            lost = lost_by(exc, session)
            database.give(session)
            if not lost:
                raise dialect.translate(exc) from exc
        session = database.take()
        try:
            dialect.begin(session)
            return session
        except dialect.errors as exc:
            database.give(session)
            raise dialect.translate(exc) from exc

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._outer is not None:
            self._end_part(self._outer, failed=error is not None)
            return
        try:
            self._end(error)
        finally:
            self._database.give(self._session)
            self._leave_queue()

    def _end(self, error: BaseException | None) -> None:
        dialect = self._database.dialect
        if error is None:
            try:
                dialect.commit(self._session)
            except dialect.errors as exc:
                self._rollback()
                raise dialect.translate(exc) from exc
            return
        self._rollback()
        if isinstance(error, dialect.errors):
            translated = dialect.translate(error)
            if translated is not error:
                raise translated from error

    def _rollback(self) -> None:
        # It fails when the connection is lost, or when SQLite has rolled back by itself: then there is
        # nothing left to undo, and a connection still inside a transaction is closed by `give`.
        with suppress(self._database.dialect.errors):
            self._session.execute(ROLLBACK)

    def _end_part(self, outer: Session, *, failed: bool) -> None:
        if not failed:
            outer.execute(KEEP_PART)
            return
        with suppress(self._database.dialect.errors):  # as above: then the outer transaction is lost too
            outer.execute(UNDO_PART)
            outer.execute(KEEP_PART)
