"""Wake-ups: who must be looked at now, and leases that push the wake-up away."""

from __future__ import annotations

from ..checkpoints import HIGHEST_PRIORITY, LOWEST_PRIORITY, DueRun, Task
from . import statements as sql
from .engine import Database

__all__ = ["claim_due", "defer", "extend_lease"]

MAX_DOUBLINGS = 2


def extend_lease(database: Database, run_id: str, version: int, seconds: float, *, revive: bool) -> bool:
    """See `checkpoints.CheckpointStore.extend_lease`."""
    statement = sql.EXTEND_LEASE if revive else sql.EXTEND_LIVE_LEASE
    return _update(database, statement, {"run_id": run_id, "version": version, "seconds": seconds})


def defer(database: Database, run_id: str, version: int, seconds: float, reason: str) -> bool:
    """See `checkpoints.CheckpointStore.defer`."""
    params = {"run_id": run_id, "version": version, "seconds": seconds, "reason": reason}
    return _update(database, sql.DEFER, params)


def _update(database: Database, statement: sql.Statement, params: dict[str, object]) -> bool:
    if database.dialect.serial_writes:
        with database.transaction() as session:
            return session.execute(statement, params).rowcount == 1
    return database.write_once(lambda session: session.execute(statement, params).rowcount == 1)


def claim_due(
    database: Database, *, limit: int, grace_s: float, ageing_s: float, only: Task | None
) -> list[DueRun]:
    """See `checkpoints.CheckpointStore.claim_due`."""
    if limit <= 0:
        return []
    statement = sql.claim_due_statement(only is not None)
    params: dict[str, object] = {"limit": limit, "ageing": ageing_s}
    if only is not None:
        params["task"] = only.value
    if database.dialect.name == "postgresql":
        params |= {"grace": grace_s, "lowest": LOWEST_PRIORITY, "highest": HIGHEST_PRIORITY}
        return _claim_skip_locked(database, statement, params)
    return _claim_serially(database, statement, params, grace_s)


def _claim_skip_locked(
    database: Database, statement: sql.Statement, params: dict[str, object]
) -> list[DueRun]:
    rows = database.write_once(lambda session: session.execute(statement, params).fetchall())
    return [
        DueRun(run_id, version, node or "", workflow_id, Task(task), delay or 0.0)
        for _, run_id, version, node, workflow_id, task, delay in sorted(rows)
    ]


def _claim_serially(
    database: Database, statement: sql.Statement, params: dict[str, object], grace_s: float
) -> list[DueRun]:
    # A look without the write lock first: most sweeps find nothing.
    if not database.read(lambda session: session.execute(sql.SOMETHING_DUE).fetchall()):
        return []
    claimed = []
    with database.transaction() as session:
        for row in session.execute(statement, params).fetchall():
            run_id, version, node, workflow_id, task, due_at, redeliveries, now = row
            delay = 0.0 if due_at is None else max(0.0, due_at - now)
            wake_at = now + delay + grace_s * 2.0 ** min(redeliveries, MAX_DOUBLINGS)
            session.execute(
                sql.PUSH_WAKE_UP, {"run_id": run_id, "wake_at": wake_at, "redelivered": 0 if delay > 0 else 1}
            )
            claimed.append(DueRun(run_id, version, node or "", workflow_id, Task(task), delay))
    return claimed
