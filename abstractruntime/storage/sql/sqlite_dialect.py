"""SQLite: one file, WAL, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import cast

from abstractruntime.core.errors import ServiceUnavailableError

from ..replaced_files import make_private_dir
from .driver import Cursor, DriverConnection, Parameters, PooledSession, Session
from .statements import BEGIN, COMMIT, Statement

__all__ = ["SqliteDialect", "SqliteUnavailableError"]

MIN_VERSION = (3, 35, 0)  # RETURNING
BUSY_TIMEOUT_S = 15.0
LOCK_PATIENCE_S = 45.0
PAGE_BYTES = 2048
LOG_BYTES = 16 * 1024**2
"""Of log before it is copied into the file, which waits for the disk."""


class SqliteUnavailableError(ServiceUnavailableError, sqlite3.OperationalError):
    """The file can't be used: not there to write, locked by another process, full, damaged, of an old schema.

    Callers may catch it as either (`spec/02 §6.1`). It has SQLite's own text in its message, and where SQLite
    gave them its ``sqlite_errorcode`` and ``sqlite_errorname``.
    """


class SqliteSession:
    """Statements on one sqlite3 connection."""

    __slots__ = ("connection", "dialect")

    def __init__(self, connection: DriverConnection, dialect: SqliteDialect) -> None:
        self.connection = connection
        self.dialect = dialect

    def execute(self, statement: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        return self.connection.execute(statement.sqlite, params)


class SqliteDialect:
    """See `driver.Dialect`.

    Args:
        path: the file; made with mode 0600 (it holds prompts and results), parents included.
        synchronous: ``NORMAL`` (a power cut may take the last commits, a crash of the process does not) or
            ``FULL`` (survives a power cut, slower).
        busy_timeout_s: how long SQLite itself waits for another process's write to end.
        patience_s: how long a transaction's begin is tried in all; SQLite reports some locks without a wait.
    """

    name = "sqlite"
    errors: type[Exception] = sqlite3.Error
    integrity_error: type[Exception] = sqlite3.IntegrityError
    serial_writes = True

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "NORMAL",
        busy_timeout_s: float = BUSY_TIMEOUT_S,
        patience_s: float = LOCK_PATIENCE_S,
    ) -> None:
        self.path = path
        self.address = f"SQLite file {path}"
        self._settings = (
            # Of a file that is new: the log takes whole pages, and a step changes little on each of a dozen.
            f"PRAGMA page_size={PAGE_BYTES}",
            "PRAGMA journal_mode=WAL",
            f"PRAGMA synchronous={synchronous}",
            "PRAGMA foreign_keys=ON",
        )
        self._busy_timeout_s = busy_timeout_s
        self.patience_s = patience_s
        if sqlite3.sqlite_version_info < MIN_VERSION:
            raise ServiceUnavailableError(
                f"This Python's SQLite is {sqlite3.sqlite_version}; abstractruntime needs 3.35 or newer. "
                "Use a newer Python or set DATABASE_URL to a PostgreSQL database."
            )
        self._create_file()

    def _create_file(self) -> None:
        """Make the file private to its owner before SQLite makes it with default permissions.

        A file that exists must not be opened here: closing any descriptor of a SQLite file drops all POSIX
        locks this process holds on it, and another process would then take the log away under us.
        """
        try:
            make_private_dir(self.path.parent)
            # SQLite gives its -wal and -shm files the mode of the main file.
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        except FileExistsError:
            if not self.path.is_file() or not os.access(self.path, os.R_OK | os.W_OK):
                raise SqliteUnavailableError(
                    f"{self.address} can't be opened for writing: it is not a file this user may write to."
                ) from None
        except OSError as exc:
            raise SqliteUnavailableError(
                f"{self.address} can't be opened for writing: {exc.strerror or exc}. "
                "Check that the folder exists and that this user may write to it."
            ) from exc

    def configure(self, connection: sqlite3.Connection) -> None:
        """Apply the settings every connection to the file must have."""
        connection.isolation_level = None  # transactions are begun by hand, as IMMEDIATE
        connection.execute(f"PRAGMA busy_timeout={int(self._busy_timeout_s * 1000)}")
        for setting in self._settings:
            # Switching to WAL reports "locked" at once while another process does the same.
            self._patiently(partial(_set, connection, setting), time.monotonic())
        page_bytes = connection.execute("PRAGMA page_size").fetchone()[0]  # the file may be older than we are
        connection.execute(f"PRAGMA wal_autocheckpoint={LOG_BYTES // page_bytes}")

    def connect(self) -> SqliteSession:
        try:
            connection = sqlite3.connect(
                self.path, timeout=self._busy_timeout_s, isolation_level=None, check_same_thread=False
            )
            self.configure(connection)
        except sqlite3.Error as exc:
            raise self.translate(exc) from exc
        return SqliteSession(connection, self)

    def begin(self, session: Session) -> None:
        started = time.monotonic()
        try:
            session.execute(BEGIN)
        except sqlite3.OperationalError as exc:
            self._wait_a_little(exc, started)
            self._patiently(partial(session.execute, BEGIN), started)

    def _patiently(self, action: Callable[[], object], started: float) -> None:
        """Repeat while the file is locked, within bounds: SQLite reports some locks without its own wait."""
        while True:
            try:
                action()
                return
            except sqlite3.OperationalError as exc:
                self._wait_a_little(exc, started)

    def _wait_a_little(self, error: sqlite3.OperationalError, started: float) -> None:
        """Raise the error if it is no lock, or if the patience is used up."""
        if not _is_locked(error) or time.monotonic() - started >= self.patience_s:
            raise error
        time.sleep(0.002)

    def commit(self, session: Session) -> None:
        session.execute(COMMIT)

    def is_lost(self, session: PooledSession) -> bool:
        return False

    def ends_connection(self, error: Exception) -> bool:
        return False

    def is_clean(self, session: PooledSession) -> bool:
        return not cast(sqlite3.Connection, session.connection).in_transaction

    def translate(self, error: Exception) -> Exception:
        if isinstance(error, (ServiceUnavailableError, sqlite3.IntegrityError)):
            return error
        if not isinstance(error, sqlite3.DatabaseError):
            return error
        text = str(error)
        if _is_locked(error):
            remedy = (
                "Another process, or a connection with an open transaction, holds it longer than we wait; "
                "find and end it, or use PostgreSQL for many writers."
            )
        elif "no such table" in text or "no such column" in text:
            remedy = "Its schema is not up to date: run `abstractruntime migrate`."
        elif "full" in text:
            remedy = "Nothing was written; free disk space and try again."
        elif "readonly" in text:
            remedy = "Nothing was written; make file and folder writable for this user."
        elif "not a database" in text or "malformed" in text:
            remedy = "The file is damaged or of another kind; restore it from a backup."
        elif "unable to open" in text or "disk I/O" in text:
            remedy = "Check that the folder exists and is writable, and that the disk works."
        else:
            return error
        ours = SqliteUnavailableError(f"{self.address}: {text}. {remedy}")
        for name in ("sqlite_errorcode", "sqlite_errorname"):
            if hasattr(error, name):
                setattr(ours, name, getattr(error, name))
        return ours


def _is_locked(error: Exception) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


def _set(connection: sqlite3.Connection, setting: str) -> None:
    connection.execute(setting).fetchall()
