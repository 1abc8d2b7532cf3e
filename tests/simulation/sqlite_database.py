"""A world's database as a real SQLite file: the same SQL as in production, under the virtual clock.

One transaction at a time, as SQLite has it; readers see what is committed, also while somebody writes. Who
waits, who dies and who is cut off is simulated; what is stored and what is undone is SQLite's business.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from abstractruntime.core.models import RunState
from abstractruntime.storage.checkpoints import (
    Checkpoint,
    DueRun,
    Event,
    PriorResult,
    StoredEvent,
    Task,
    Write,
    Written,
)
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.rows import load
from abstractruntime.storage.sql.slots import SqlSlots
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.storage.sql.transactions import Transaction
from abstractruntime.storage.sql.unit import SqlUnit

from .database import SimulatedDatabase, SimulatedUnit
from .fibers import Crash, Fibers
from .journal import Journal

__all__ = ["SqliteDatabase"]

JULIAN_EPOCH = 2440587.5
DAY_S = 86400.0


@cache
def _template() -> Path:
    """A migrated file, made once per process."""
    path = Path(tempfile.mkdtemp(prefix="simulation-")) / "template.sqlite3"
    database = open_database(f"sqlite:///{path}")
    upgrade(database)
    with_log = database.take()
    with_log.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    database.give(with_log)
    database.close()
    return path


class SqliteDatabase(SimulatedDatabase):
    """See `SimulatedDatabase`; ``close`` removes the file."""

    def __init__(
        self,
        clock: Callable[[], float],
        fibers: Fibers,
        journal: Journal,
        point: Callable[[str], None],
    ) -> None:
        super().__init__(clock, fibers, journal, point, serial=True)
        self._folder = Path(tempfile.mkdtemp(prefix="simulation-"))
        path = self._folder / "runs.sqlite3"
        shutil.copyfile(_template(), path)
        path.chmod(0o600)
        self.sql = _at_virtual_time(open_database(f"sqlite:///{path}", synchronous="NORMAL"), clock)
        self.inner = cast(Any, SqlCheckpointStore(self.sql))

    def close(self) -> None:
        self.sql.close()
        shutil.rmtree(self._folder)

    @property
    def awake(self) -> dict[str, float]:
        rows = self.sql.read(
            lambda session: (
                cast(Any, session)
                .connection.execute("SELECT run_id, wake_at FROM runs WHERE wake_at IS NOT NULL")
                .fetchall()
            )
        )
        return dict(rows)

    def claim_due(
        self, *, limit: int, grace_s: float, ageing_s: float = 60.0, only: Task | None = None
    ) -> list[DueRun]:
        with self._statement("sweep"):
            due = self.inner.claim_due(limit=limit, grace_s=grace_s, ageing_s=ageing_s, only=only)
            self.redelivered += sum(run.delay_s == 0.0 for run in due)
            return due

    def forget_claims(self, *, limit: int = 1000) -> int:
        with self._statement("forget"):
            return self.inner.forget_claims(limit=limit)

    def _new_unit(self) -> SimulatedUnit:
        return cast(SimulatedUnit, SqliteUnit(self))


def _at_virtual_time(database: Database, clock: Callable[[], float]) -> Database:
    """SQLite's own clock is the world's: a function of our own stands for ``julianday('now')``."""
    dialect = cast(Any, database.dialect)
    configure = dialect.configure

    def configured(connection: Any) -> None:
        configure(connection)
        connection.create_function("julianday", 1, lambda _: clock() / DAY_S + JULIAN_EPOCH)

    dialect.configure = configured
    return database


class SqliteUnit:
    """A transaction on a connection of its own; hidden from everybody else by SQLite itself."""

    def __init__(self, database: SqliteDatabase) -> None:
        self.held: set[str] = set()
        self._database = database
        self._transaction: Transaction | None = None
        self._unit: SqlUnit | None = None
        self._journal: list[Callable[[], None]] = []

    def hide(self) -> None:
        pass

    def show(self) -> None:
        pass

    def settle(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.__exit__(None, None, None)
        for tell in self._journal:
            tell()

    def roll_back(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.__exit__(Crash, Crash(), None)

    def _statement(self, name: str) -> SqlUnit:
        self._database.point(f"db.{name}")
        return self._open()

    def _open(self) -> SqlUnit:
        if self._unit is None:
            self._transaction = self._database.sql.transaction()
            self._unit = SqlUnit(self._transaction.__enter__())
        return self._unit

    # -- the port -------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self._open().now

    @property
    def slots(self) -> SqlSlots:
        return self._statement("slots").slots

    def load(self, run_id: str) -> Checkpoint | None:
        return self._statement("select_for_update").load(run_id)

    def write(self, write: Write) -> Written:
        unit = self._statement("update")
        written = unit.write(write)
        if written is Written.OK:
            stored = load(unit._session, write.run.run_id)
            assert stored is not None
            row = SimpleNamespace(summary=SimpleNamespace(version=stored.version))
            self._journal.append(self._database.journal.write(write, row))
        return written

    def insert(self, run: RunState, **place: Any) -> bool:
        inserted = self._statement("insert").insert(run, **place)
        if inserted:
            started_at = self._database.clock()
            self._journal.append(self._database.journal.insert(run, started_at=started_at))
        return inserted

    def insert_many(self, runs: Sequence[RunState], **place: Any) -> list[str]:
        return [run.run_id for run in runs if self.insert(run, **place)]

    def lock_keys(self, keys: Iterable[str]) -> None:
        self._statement("lock_keys").lock_keys(keys)

    def add_event(self, event: Event) -> int | None:
        seq = self._statement("add_event").add_event(event)
        if seq is not None:
            added_at = self._database.clock()
            self._journal.append(self._database.journal.event(seq, event, added_at=added_at))
        return seq

    def waiting_on(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        return self._statement("waiting_on").waiting_on(keys)

    def next_event(self, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
        return self._statement("next_event").next_event(run_id, keys, since=since)

    def consume(self, run_id: str, wait_key: str, seq: int) -> None:
        self._statement("consume").consume(run_id, wait_key, seq)
        self._journal.append(self._database.journal.consume(run_id, wait_key, seq))

    def open_children(self, run_id: str) -> list[str]:
        return self._statement("open_children").open_children(run_id)

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        return self._statement("completed_result").completed_result(run_id, key)
