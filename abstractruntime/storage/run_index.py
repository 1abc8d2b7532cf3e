"""Rules all run stores share: what a listing's row holds, what its limits mean (`spec/02 §2.3`, §2.4)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState, RunStatus, WaitReason

from .base import DEFAULT_LIMIT

__all__ = ["due_time", "index_limit", "index_row", "stripped", "wanted_rows"]


def wanted_rows(limit: int | None) -> int:
    """How many runs a query may return: ``None`` is the default, 0 and less are none."""
    return DEFAULT_LIMIT if limit is None else max(0, limit)


def index_limit(limit: int | None) -> int:
    """How many rows `list_run_index` may return."""
    return max(1, limit or DEFAULT_LIMIT)


def stripped(text: str | None) -> str | None:
    """``text`` without outer blanks; ``None`` when nothing is left."""
    return (text or "").strip() or None


def due_time(run: RunState) -> str | None:
    """When a run that waits for a time is due; ``None`` for every other run."""
    waiting = run.waiting
    if waiting is None or run.status is not RunStatus.WAITING or waiting.reason is not WaitReason.UNTIL:
        return None
    return waiting.until or None


def index_row(run: RunState) -> dict[str, Any]:
    """The run's row in `list_run_index`."""
    waiting = run.waiting
    is_timed = waiting is not None and waiting.reason is WaitReason.UNTIL
    return {
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "status": run.status._value_,
        "wait_reason": None if waiting is None else waiting.reason._value_,
        "wait_until": (waiting.until or None) if waiting is not None and is_timed else None,
        "parent_run_id": run.parent_run_id or None,
        "actor_id": run.actor_id or None,
        "session_id": stripped(run.session_id),
        "created_at": run.created_at or None,
        "updated_at": run.updated_at or None,
    }
