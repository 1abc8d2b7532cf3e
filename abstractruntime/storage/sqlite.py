"""Runs, ledgers, commands and payloads in one SQLite file (`spec/02 §6`): SQL stores under its names."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

from sqlalchemy.engine import URL

from .sql import door_statements as sql
from .sql import migrate
from .sql.artifact_store import SqlArtifactStore
from .sql.command_store import DEFAULT_CONSUMER, SqlCommandCursorStore, SqlCommandStore
from .sql.engine import open_database
from .sql.ledger_store import SqlLedgerStore
from .sql.run_store import SqlRunStore
from .sql.snapshot_store import SqlSnapshotStore
from .sql.sqlite_dialect import SqliteDialect

__all__ = [
    "SqliteArtifactStore",
    "SqliteCommandCursorStore",
    "SqliteCommandStore",
    "SqliteDatabase",
    "SqliteLedgerStore",
    "SqliteRunStore",
    "SqliteSnapshotStore",
]


class SqliteDatabase:
    """One file for all SQLite stores, shared by threads, processes and several objects.

    Opening creates the file (readable by its owner only) with its parents, or brings the schema of an
    existing one up to date, and raises each ledger head to the greatest stored position.

    Args:
        path: ``~`` is expanded. ``:memory:`` is not special: it names a file.
        synchronous: ``"NORMAL"`` (default): a commit survives the death of the process, but a power cut may
            take the last ones. ``"FULL"``: it survives a power cut as well, at the cost of a disk flush each.
        busy_timeout_s: how many seconds a writer waits for another process to let the file go. Threads of
            this process queue up for a minute before that.

    Raises:
        ConfigurationError: ``synchronous`` is something else.
        ServiceUnavailableError: the file can't be opened or written. This and what the stores raise when it
            is locked, full or read-only is a ``sqlite3.OperationalError`` too (`spec/02 §6.1`).
    """

    def __init__(self, path: str | Path, *, synchronous: str = "NORMAL", busy_timeout_s: float = 5.0) -> None:
        self._path = Path(path).expanduser().resolve()
        url = URL.create("sqlite", database=str(self._path))
        self.database = open_database(
            url, synchronous=synchronous, busy_timeout_s=busy_timeout_s, lock_patience_s=busy_timeout_s
        )
        migrate.upgrade(self.database)
        with self.database.transaction() as session:
            session.execute(sql.REPAIR_HEADS)
        self._lock = threading.Lock()
        self._connections: dict[int, sqlite3.Connection] = {}

    @property
    def path(self) -> Path:
        """The file's absolute path."""
        return self._path

    def connection(self) -> sqlite3.Connection:
        """The calling thread's own connection to the file, in autocommit; rows by column name."""
        mine = threading.get_ident()
        with self._lock:
            found = self._connections.get(mine)
            if found is not None:
                return found
            self._close_those_of_ended_threads()
            connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            dialect = self.database.dialect
            if isinstance(dialect, SqliteDialect):
                dialect.configure(connection)
            connection.row_factory = sqlite3.Row
            self._connections[mine] = connection
            return connection

    def _close_those_of_ended_threads(self) -> None:
        alive = {thread.ident for thread in threading.enumerate()}
        for ident in [ident for ident in self._connections if ident not in alive]:
            self._connections.pop(ident).close()

    def close(self) -> None:
        """Close all connections. The object may be used again afterwards."""
        with self._lock:
            while self._connections:
                self._connections.popitem()[1].close()
        self.database.close()


class SqliteRunStore(SqlRunStore):
    """Checkpoints in a SQLite file."""

    def __init__(self, db: SqliteDatabase) -> None:
        super().__init__(db.database)


class SqliteLedgerStore(SqlLedgerStore):
    """Journals in a SQLite file."""

    def __init__(self, db: SqliteDatabase) -> None:
        super().__init__(db.database)


class SqliteArtifactStore(SqlArtifactStore):
    """Artifacts in a SQLite file."""

    def __init__(self, db: SqliteDatabase) -> None:
        super().__init__(db.database)


class SqliteSnapshotStore(SqlSnapshotStore):
    """Snapshots in a SQLite file."""

    def __init__(self, db: SqliteDatabase) -> None:
        super().__init__(db.database)


class SqliteCommandStore(SqlCommandStore):
    """The command inbox in a SQLite file."""

    def __init__(self, db: SqliteDatabase) -> None:
        super().__init__(db.database)


class SqliteCommandCursorStore(SqlCommandCursorStore):
    """A consumer's position in a SQLite file.

    Args:
        consumer_id: whose position; blank means ``"gateway_runner"``.
    """

    def __init__(self, db: SqliteDatabase, *, consumer_id: str = DEFAULT_CONSUMER) -> None:
        super().__init__(db.database, consumer_id=consumer_id)
