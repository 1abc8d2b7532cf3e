"""Cursors of cron schedules: how far each has been handled."""

from __future__ import annotations

from . import statements as sql
from .engine import Database

__all__ = ["advance_schedule", "schedule_cursor"]


def schedule_cursor(database: Database, schedule_id: str) -> float:
    """See `checkpoints.CheckpointStore.schedule_cursor`."""
    params = {"schedule_id": schedule_id}
    row = database.read(lambda session: session.execute(sql.SCHEDULE_CURSOR, params).fetchone())
    if row is None:
        with database.transaction() as session:
            session.execute(sql.ADD_SCHEDULE, params)
            row = session.execute(sql.SCHEDULE_CURSOR, params).fetchone()
    return float(row[0])


def advance_schedule(database: Database, schedule_id: str, *, seen: float, to: float) -> bool:
    """See `checkpoints.CheckpointStore.advance_schedule`."""
    params = {"schedule_id": schedule_id, "seen": seen, "moved": to}
    with database.transaction() as session:
        return session.execute(sql.ADVANCE_SCHEDULE, params).rowcount == 1
