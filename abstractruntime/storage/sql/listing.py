"""What people look at: lists of runs, ledgers, counts."""

from __future__ import annotations

from abstractruntime.core.models import RunStatus, WaitReason

from ..checkpoints import LedgerEntry, RunFilter, RunSummary
from ..json_text import decode
from . import statements as sql
from .engine import Database

__all__ = ["find_runs", "find_statement", "ledger", "status_counts"]

_COLUMNS = """run_id, workflow_id, status, current_node, wait_reason, wait_key, parent_run_id, actor_id,
session_id, created_at, updated_at, version, hold_reason, due_at"""
_NO_LIMIT = 2**62


def find_runs(database: Database, where: RunFilter, *, limit: int, before: str | None) -> list[RunSummary]:
    """See `checkpoints.CheckpointStore.find_runs`."""
    if limit <= 0:
        return []
    statement, params = find_statement(where, limit, before)
    rows = database.read(lambda session: session.execute(statement, params).fetchall())
    return [_summary(*row) for row in rows]


def find_statement(
    where: RunFilter, limit: int, before: str | None
) -> tuple[sql.Statement, dict[str, object]]:
    """The statement of `find_runs` and its parameters."""
    conditions, params = conditions_of(where)
    if before is not None:
        conditions.append("updated_at < :before")
        params["before"] = before
    params["limit"] = limit
    filters = " AND ".join(conditions) or "1 = 1"
    statement = sql.statement(
        f"SELECT {_COLUMNS} FROM runs WHERE {filters} ORDER BY updated_at DESC, run_id DESC LIMIT :limit"
    )
    return statement, params


def conditions_of(where: RunFilter) -> tuple[list[str], dict[str, object]]:
    """SQL conditions and their parameters; values never become part of the text."""
    values = {  # `RunStatus("waiting")` is the member itself: the filter may come as text
        "status": where.status and RunStatus(where.status).value,
        "wait_reason": where.wait_reason and WaitReason(where.wait_reason).value,
        "workflow_id": where.workflow_id,
        "session_id": where.session_id,
        "parent_run_id": where.parent_run_id,
    }
    params: dict[str, object] = {name: value for name, value in values.items() if value is not None}
    conditions = [f"{name} = :{name}" for name in params]
    if where.root_only:
        conditions.append("(parent_run_id IS NULL OR parent_run_id = '')")
    return conditions, params


def _summary(
    run_id: str,
    workflow_id: str,
    status: str,
    current_node: str | None,
    wait_reason: str | None,
    wait_key: str | None,
    parent_run_id: str | None,
    actor_id: str | None,
    session_id: str | None,
    created_at: str | None,
    updated_at: str | None,
    version: int,
    hold_reason: str | None,
    due_at: float | None,
) -> RunSummary:
    return RunSummary(
        run_id=run_id,
        workflow_id=workflow_id,
        status=RunStatus(status),
        current_node=current_node or "",
        wait_reason=None if wait_reason is None else WaitReason(wait_reason),
        wait_key=wait_key,
        parent_run_id=parent_run_id,
        actor_id=actor_id,
        session_id=session_id,
        created_at=created_at or "",
        updated_at=updated_at or "",
        version=version,
        hold_reason=hold_reason,
        due_at=due_at,
    )


def ledger(database: Database, run_id: str, *, after: int, limit: int | None) -> list[LedgerEntry]:
    """See `checkpoints.CheckpointStore.ledger`."""
    params = {"run_id": run_id, "after": after, "limit": _NO_LIMIT if limit is None else max(0, limit)}
    rows = database.read(lambda session: session.execute(sql.LEDGER_AFTER, params).fetchall())
    return [LedgerEntry(seq, decode(text)) for seq, text in rows]


def status_counts(database: Database) -> dict[str, int]:
    """Number of runs by status."""
    rows = database.read(lambda session: session.execute(sql.STATUS_COUNTS).fetchall())
    return {status: count for status, count in rows}
