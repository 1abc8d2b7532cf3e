"""How a fleet's runs are, for the doctor and for monitoring: held ones and overdue ones."""

from __future__ import annotations

from dataclasses import dataclass

from .engine import Database
from .statements import statement

__all__ = ["Health", "commit_count", "health"]

_MAX_REASONS = 10

_COUNTS = statement("SELECT status, count(*) FROM runs GROUP BY status ORDER BY status")
_COMMITS = statement("SELECT coalesce(sum(version - 1), 0) FROM runs")
_WAITS = statement(
    "SELECT wait_reason, count(*) FROM runs WHERE status = 'waiting' "
    "GROUP BY wait_reason ORDER BY wait_reason"
)
_HELD = statement(
    "SELECT hold_reason, count(*) FROM runs "
    "WHERE status IN ('running', 'waiting') AND hold_reason IS NOT NULL "
    "GROUP BY hold_reason ORDER BY count(*) DESC, hold_reason LIMIT :limit"
)
_OVERDUE = statement("SELECT count(*), max({now} - wake_at) FROM runs WHERE wake_at < {now} - :late_s")


@dataclass(frozen=True, slots=True)
class Health:
    """What `health` found.

    Attributes:
        by_status: number of runs by status.
        by_wait: number of waiting runs by what they wait for.
        held: reasons why runs are deferred, with the number of runs, the most frequent first (at most 10).
        overdue: runs nobody has looked at although their wake-up is long past.
        overdue_s: how long the oldest of them is late, in seconds.
    """

    by_status: dict[str, int]
    by_wait: dict[str, int]
    held: list[tuple[str, int]]
    overdue: int
    overdue_s: float


def health(database: Database, *, late_s: float) -> Health:
    """Count; a run counts as overdue ``late_s`` seconds after its wake-up: sweeps come more often."""
    by_status, by_wait, held, overdue = database.read(
        lambda session: (
            session.execute(_COUNTS).fetchall(),
            session.execute(_WAITS).fetchall(),
            session.execute(_HELD, {"limit": _MAX_REASONS}).fetchall(),
            session.execute(_OVERDUE, {"late_s": late_s}).fetchone(),
        )
    )
    return Health(
        by_status=dict(by_status),
        by_wait={str(reason): count for reason, count in by_wait},
        held=[(reason, count) for reason, count in held],
        overdue=overdue[0],
        overdue_s=float(overdue[1] or 0.0),
    )


def commit_count(database: Database) -> int:
    """Commits of all runs so far: a rough measure of work done, one scan of the runs."""
    return int(database.read(lambda session: session.execute(_COMMITS).fetchone())[0])
