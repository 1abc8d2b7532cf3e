"""What the store needs of a database driver: run a named statement, and know what an error means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection

from .statements import Statement

__all__ = ["Cursor", "Dialect", "DriverConnection", "JoinedSession", "Parameters", "Session", "lost_by"]

Parameters = Mapping[str, object]


class Cursor(Protocol):
    """The part of a DB-API cursor that is used here."""

    @property
    def rowcount(self) -> int: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> Sequence[Any]: ...


class DriverConnection(Protocol):
    """A connection of sqlite3 or psycopg, in autocommit: both run statements without a cursor's detour."""

    def execute(self, sql: str, params: Parameters, /) -> Cursor: ...
    def close(self) -> None: ...


class Session(Protocol):
    """Runs statements on one connection, inside a transaction or not."""

    @property
    def dialect(self) -> Dialect: ...
    def execute(self, statement: Statement, params: Parameters = ..., /) -> Cursor: ...


class PooledSession(Session, Protocol):
    """A session of our own connection."""

    connection: DriverConnection


class Dialect(Protocol):
    """One database system.

    Attributes:
        name: SQLAlchemy's name for it.
        address: where it is, without a password; for errors.
        errors: the driver's base error class.
        integrity_error: the driver's error for a violated constraint.
        serial_writes: only one writer at a time is possible; writers of one process queue up on a lock
            instead of in the database's busy handler, whose sleeps are long.
    """

    name: str
    address: str
    errors: type[Exception]
    integrity_error: type[Exception]
    serial_writes: bool

    def connect(self) -> PooledSession:
        """A new connection. Raises ServiceUnavailableError."""
        ...

    def begin(self, session: Session) -> None:
        """Start a write transaction, waiting for others within bounds."""
        ...

    def commit(self, session: Session) -> None:
        """End the transaction for good.

        Raises:
            ServiceUnavailableError: a statement in it had failed and somebody passed over that: nothing of
                the transaction was written.
        """
        ...

    def is_lost(self, session: PooledSession) -> bool:
        """Whether the connection to the server is gone."""
        ...

    def ends_connection(self, error: Exception) -> bool:
        """Whether ``error`` says that the connection is gone. The driver may still take it for open."""
        ...

    def is_clean(self, session: PooledSession) -> bool:
        """Whether the connection is fit for the next user: open, no transaction, no statement under way
        (a signal, e.g. a task's time limit, may have interrupted one)."""
        ...

    def translate(self, error: Exception) -> Exception:
        """The error of ours that says what to do about it, or ``error`` itself."""
        ...


def lost_by(error: Exception, session: PooledSession) -> bool:
    """Whether ``error`` cost the connection, which is then closed: a backend that was terminated is told to
    the driver by the server or by the socket, and it learns of the end only at its next use."""
    if session.dialect.ends_connection(error):
        session.connection.close()
    return session.dialect.is_lost(session)


class JoinedSession:
    """Runs statements on a caller's SQLAlchemy connection, inside the caller's transaction."""

    __slots__ = ("_connection", "_knows_binary", "_postgresql", "dialect")

    def __init__(self, connection: Connection, dialect: Dialect) -> None:
        self._connection = connection
        self._postgresql = dialect.name == "postgresql"
        self._knows_binary = connection.dialect.driver != "psycopg2"
        self.dialect = dialect

    def execute(self, statement: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        text = statement.postgresql if self._postgresql else statement.sqlite
        if not self._knows_binary:  # psycopg2 has no binary parameters
            text = text.replace(")b::text[]", ")s::text[]")
        return self._connection.exec_driver_sql(text, dict(params))
