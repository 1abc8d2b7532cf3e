"""Runs as rows: the columns that repeat parts of the state for indexes, and the way back."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason

from ..checkpoints import Checkpoint, Task
from ..json_text import decode
from ..run_index import stripped
from ..stored_text import record_text, state_text
from .driver import Session
from .statements import LOAD, Statement

__all__ = [
    "checkpoint_of",
    "decode_run",
    "load",
    "record_row",
    "run_columns",
    "state_columns",
    "wait_keys",
]


def state_columns(run: RunState) -> dict[str, object]:
    """The columns that a commit changes, from the state alone."""
    waiting = run.waiting
    columns: dict[str, object] = {
        "run_id": run.run_id,
        "status": run.status._value_,
        "wait_reason": None,
        "wait_until": None,
        "wait_key": None,
        "current_node": run.current_node,
        "updated_at": run.updated_at,
        "run_json": state_text(run),
    }
    if waiting is not None:
        columns["wait_reason"] = waiting.reason._value_
        columns["wait_key"] = waiting.wait_key
        if waiting.reason is WaitReason.UNTIL:
            columns["wait_until"] = waiting.until
    return columns


def run_columns(run: RunState) -> dict[str, object]:
    """All columns that come from the state."""
    columns = state_columns(run)
    columns["workflow_id"] = run.workflow_id
    columns["parent_run_id"] = run.parent_run_id
    columns["actor_id"] = run.actor_id
    columns["session_id"] = stripped(run.session_id)
    columns["created_at"] = run.created_at
    return columns


def record_row(record: StepRecord) -> tuple[str, str, str | None]:
    """``(record_json, status, idempotency_key)``."""
    return record_text(record), record.status._value_, record.idempotency_key


def wait_keys(run: RunState) -> list[str]:
    """All keys of a run that waits for any of several events; ``[]`` for every other run."""
    waiting = run.waiting
    if waiting is None or run.status is not RunStatus.WAITING or waiting.reason is not WaitReason.EVENT:
        return []
    keys = (waiting.details or {}).get("wait_keys")
    return [key for key in keys if isinstance(key, str)] if isinstance(keys, list) else []


def load(session: Session, run_id: str, statement: Statement = LOAD) -> Checkpoint | None:
    """The stored checkpoint, or ``None``."""
    row = session.execute(statement, {"run_id": run_id}).fetchone()
    return None if row is None else checkpoint_of(run_id, row)


def checkpoint_of(run_id: str, row: Any) -> Checkpoint:
    """The checkpoint from the columns that `LOAD` selects.

    Raises:
        CorruptCheckpointError: it can't be decoded.
    """
    run_json, version, ledger_seq, depth, step_json, attempts, redeliveries, task = row[:8]
    try:
        step = None if step_json is None else EffectStep.from_dict(decode(step_json))
        task = Task(task)
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _corrupt(run_id, "its step in flight", exc) from exc
    return Checkpoint(
        decode_run(run_id, run_json), version, ledger_seq, depth, step, attempts, redeliveries, task, *row[8:]
    )


_BLANK_NAMES = {"workflow_id": "", "current_node": ""}


def decode_run(run_id: str, run_json: str) -> RunState:
    """The state from its text; names it lacks are taken as blank (`spec/02 §3.1`).

    Raises:
        CorruptCheckpointError: it can't be decoded.
    """
    try:
        return RunState.from_dict({"run_id": run_id, **_BLANK_NAMES, **decode(run_json)})
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise _corrupt(run_id, "its state", exc) from exc


def _corrupt(run_id: str, part: str, exc: Exception) -> CorruptCheckpointError:
    return CorruptCheckpointError(
        f"Run '{run_id}' can't be loaded: {part} in table runs can't be decoded "
        f"({type(exc).__name__}: {exc}). "
        "Restore the row from a backup, or cancel the run."
    )
