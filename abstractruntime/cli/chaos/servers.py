"""The servers of a chaos run: from the wheels, or somebody's own, and what may be done to them."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from urllib.parse import urlsplit

from redis import Redis

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.statements import statement
from abstractruntime.testing.databases import create_database, drop_database
from abstractruntime.testing.postgres import PostgresServer
from abstractruntime.testing.valkey import ValkeyServer

__all__ = ["Broker", "RunsDatabase", "open_broker", "open_runs_database"]

_LOCK = statement("SELECT 1", postgresql="LOCK TABLE runs IN EXCLUSIVE MODE")
_IMPATIENT = statement("SELECT 1", postgresql="SET LOCAL lock_timeout = '10s'")
# Those in the middle of a transaction first; with `everybody`, the idle ones as well.
_CUT = statement(
    "SELECT 0",
    postgresql="SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND (:everybody OR state <> 'idle')",
)
_CUT_EVERY_S = 0.05


class Broker:
    """A Valkey of ours, or a logical database of somebody's Redis."""

    def __init__(self, url: str, server: ValkeyServer | None) -> None:
        self.url = url
        self.server = server
        self._lock = Lock()

    @contextmanager
    def _client(self) -> Iterator[Redis]:
        with Redis.from_url(self.url, socket_timeout=5.0, retry=None) as client:
            yield client

    def flush(self) -> None:
        """Forget all messages."""
        with self._client() as client:
            if self.server is not None:
                client.flushall()
            else:
                client.flushdb()

    def cut(self) -> int:
        """Kill all connections; how many."""
        with self._client() as client:
            if self.server is None:
                return self._cut_own(client)
            return sum(
                int(client.client_kill_filter(_type=kind, skipme=True)) for kind in ("normal", "pubsub")
            )

    def _cut_own(self, client: Redis) -> int:
        """Only connections to this logical database: others are not ours."""
        number = (urlsplit(self.url).path or "/0").lstrip("/") or "0"
        ours = [each for each in client.client_list() if each["db"] == number]
        return sum([int(client.client_kill_filter(_id=each["id"], skipme=True)) for each in ours])

    def go_away(self, seconds: float) -> None:
        """Killed, and back ``seconds`` later, empty."""
        assert self.server is not None
        with self._lock:
            self.server.kill()
            time.sleep(seconds)
            self.server.ensure_running()

    def restart(self) -> None:
        """Stopped and started again."""
        self.go_away(0.0)

    def mend(self) -> None:
        """Be there again."""
        with self._lock:
            if self.server is not None:
                self.server.ensure_running()


class RunsDatabase:
    """Where the runs live: SQLite, a PostgreSQL of ours, or a database on somebody's PostgreSQL."""

    def __init__(self, url: str, server: PostgresServer | None) -> None:
        self.url = url
        self.server = server
        self._lock = Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file."""
        return self.url.startswith("sqlite")

    def open(self) -> Database:
        """A way in of one's own."""
        return open_database(self.url)

    def restart(self) -> None:
        """An immediate stop, as in a crash, and a start, which recovers."""
        assert self.server is not None
        with self._lock:
            self.server.restart(immediate=True)

    def cut(self, seconds: float) -> int:
        """Again and again terminate whoever is in the middle of something; at last everybody. How many."""
        database = self.open()
        try:
            deadline, count = time.monotonic() + seconds, 0
            while time.monotonic() < deadline:
                count += self._terminate(database, everybody=False)
                time.sleep(_CUT_EVERY_S)
            return count + self._terminate(database, everybody=True)
        finally:
            database.close()

    def _terminate(self, database: Database, *, everybody: bool) -> int:
        row = database.read(lambda session: session.execute(_CUT, {"everybody": everybody}).fetchone())
        return int(row[0])

    def lock(self, seconds: float) -> None:
        """Nobody can write for a while."""
        database = self.open()
        try:
            with database.transaction() as session:
                session.execute(_IMPATIENT)
                session.execute(_LOCK)
                time.sleep(seconds)
        finally:
            database.close()

    def mend(self) -> None:
        """Be there again."""
        with self._lock:
            if self.server is not None:
                self.server.ensure_running()


def open_broker(url: str | None, folder: Path, stack: ExitStack) -> Broker:
    """A Valkey of our own, or the logical database at ``url``.

    Raises:
        ConfigurationError: that database is not empty.
    """
    if url is None:
        server = ValkeyServer(folder / "valkey", die_with_parent=True)
        server.start()
        stack.callback(server.stop)
        return Broker(server.url, server)
    with Redis.from_url(url, socket_timeout=5.0) as client:
        keys = client.dbsize()
    if keys:
        raise ConfigurationError(
            f"The Redis database given holds {keys} keys, and a chaos run flushes it: "
            "name an empty logical database, e.g. redis://host:6379/15"
        )
    return Broker(url, None)


def open_runs_database(kind: str, url: str | None, folder: Path, stack: ExitStack) -> RunsDatabase:
    """A fresh database: a SQLite file, one on a PostgreSQL of our own, or one on the server at ``url``."""
    found = _made(kind, url, folder, stack)
    database = found.open()
    upgrade(database)
    database.close()
    return found


def _made(kind: str, url: str | None, folder: Path, stack: ExitStack) -> RunsDatabase:
    if kind == "sqlite":
        return RunsDatabase(f"sqlite:///{folder / 'runs.db'}", None)
    name = f"chaos_{secrets.token_hex(6)}"
    if url is not None:
        made = create_database(url, name)
        stack.callback(drop_database, url, name)
        return RunsDatabase(made, None)
    # Synced to disk, as in production. Temporary: its folder must be open to an unprivileged user.
    server = PostgresServer(durable=True)
    stack.callback(server.close)
    server.start()
    return RunsDatabase(create_database(server.url, name), server)
