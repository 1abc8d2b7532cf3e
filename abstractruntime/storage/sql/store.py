"""The checkpoint store over a SQL database."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

from sqlalchemy import Connection

from abstractruntime.core.errors import ConfigurationError

from ..checkpoints import Checkpoint, DueRun, LedgerEntry, RunFilter, RunSummary, Task, Unit, Write, Written
from . import commit, deletion, listing, schedules, slots, sweep
from . import statements as sql
from .driver import JoinedSession
from .engine import Database
from .rows import load
from .unit import SqlUnit, UnitContext

__all__ = ["SqlCheckpointStore"]


class SqlCheckpointStore:
    """Runs of a fleet in SQLite or PostgreSQL. See `checkpoints.CheckpointStore` for what methods mean.

    Safe to share among threads, and across a fork. The schema must be there: `migrate.upgrade(database)`.

    Every method raises ServiceUnavailableError when the database can't be reached or can't write.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def load(self, run_id: str) -> Checkpoint | None:
        return self.database.read(lambda session: load(session, run_id))

    def commit(self, write: Write) -> Written:
        return commit.commit(self.database, write)

    def unit(self) -> AbstractContextManager[Unit]:
        return UnitContext(self.database)

    def unit_on(self, connection: Connection) -> Unit:
        """A unit inside the caller's own transaction: it neither commits nor rolls back, and locks nothing
        beyond what its statements lock. Errors are SQLAlchemy's.

        Raises:
            ConfigurationError: the connection is of another database system than this store.
        """
        if connection.dialect.name != self.database.dialect.name:
            raise ConfigurationError(
                f"The transaction to join is on {connection.dialect.name}, but the runs are in "
                f"{self.database.address}; both must be the same database."
            )
        if not connection.in_transaction():
            connection.begin()
        return SqlUnit(JoinedSession(connection, self.database.dialect))

    def extend_lease(self, run_id: str, version: int, seconds: float, *, revive: bool = True) -> bool:
        return sweep.extend_lease(self.database, run_id, version, seconds, revive=revive)

    def defer(self, run_id: str, version: int, seconds: float, reason: str) -> bool:
        return sweep.defer(self.database, run_id, version, seconds, reason)

    def claim_due(
        self, *, limit: int, grace_s: float, ageing_s: float = 60.0, only: Task | None = None
    ) -> list[DueRun]:
        return sweep.claim_due(self.database, limit=limit, grace_s=grace_s, ageing_s=ageing_s, only=only)

    def forget_claims(self, *, limit: int = 1000) -> int:
        return slots.forget_claims(self.database, limit=limit)

    def find_runs(self, where: RunFilter, *, limit: int = 100, before: str | None = None) -> list[RunSummary]:
        return listing.find_runs(self.database, where, limit=limit, before=before)

    def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[LedgerEntry]:
        return listing.ledger(self.database, run_id, after=after, limit=limit)

    def status_counts(self) -> Mapping[str, int]:
        return listing.status_counts(self.database)

    def schedule_cursor(self, schedule_id: str) -> float:
        return schedules.schedule_cursor(self.database, schedule_id)

    def advance_schedule(self, schedule_id: str, *, seen: float, to: float) -> bool:
        return schedules.advance_schedule(self.database, schedule_id, seen=seen, to=to)

    def count_expired_events(self, *, added_before: float) -> int:
        """How many events have expired and were added before that time (epoch seconds)."""
        return deletion.count_expired_events(self.database, added_before=added_before)

    def delete_expired_events(self, *, added_before: float, limit: int) -> int:
        """Remove up to ``limit`` of them; how many it were. What somebody else is removing is left out."""
        return deletion.delete_expired_events(self.database, added_before=added_before, limit=limit)

    def now(self) -> float:
        return float(self.database.read(lambda session: session.execute(sql.NOW).fetchone())[0])
