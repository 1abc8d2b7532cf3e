"""What a fleet's database holds, as Python objects, and the indexes over it.

States are kept as the JSON text a database would hold, so every load is an independent copy that has been
through JSON.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.limit_terms import Terms
from abstractruntime.core.models import RunState, RunStatus, StepStatus, WaitReason

from .checkpoints import Checkpoint, Event, RunSummary, Task
from .json_text import decode, encode

__all__ = [
    "InboxEvent",
    "Record",
    "Row",
    "SlotRow",
    "Tables",
    "checkpoint_of",
    "put",
    "put_back",
    "record_of",
    "summary_of",
    "text_of",
    "wait_keys_of",
]


@dataclass(frozen=True, slots=True)
class Row:
    """A run as stored; replaced, never changed, so that undoing is putting the old one back."""

    text: str
    summary: RunSummary
    wait_keys: tuple[str, ...]
    ledger_seq: int
    depth: int
    step_text: str | None
    attempts: int
    redeliveries: int
    task: Task
    wake_at: float | None
    lease_until: float | None
    started_at: float
    priority: int = 0
    admission: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    text: str
    completed_key: str | None


@dataclass(frozen=True, slots=True)
class InboxEvent:
    seq: int
    event: Event
    payload_text: str
    added_at: float


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A run that holds a slot of a key, or stands in line for one (then ``version`` is the run's)."""

    run_id: str
    terms: Terms
    held: bool
    version: int = 0
    rank: float = 0.0
    called_at: float | None = None
    calls: int = 0


@dataclass(slots=True)
class Tables:
    runs: dict[str, Row] = field(default_factory=dict)
    awake: dict[str, float] = field(default_factory=dict)
    waiting: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    children: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ledgers: defaultdict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    completed: dict[tuple[str, str], str] = field(default_factory=dict)
    event_ids: set[str] = field(default_factory=set)
    events: defaultdict[str, list[InboxEvent]] = field(default_factory=lambda: defaultdict(list))
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    schedules: dict[str, float] = field(default_factory=dict)
    slots: dict[str, dict[str, SlotRow]] = field(default_factory=dict)
    claims: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    last_event_seq: int = 0


def text_of(run: RunState) -> str:
    return encode(run.to_dict(), f"run '{run.run_id}'")


def record_of(data: dict[str, Any], run_id: str) -> Record:
    text = encode(data, f"a ledger record of run '{run_id}' (node '{data['node_id']}')")
    return Record(text, data["idempotency_key"] if data["status"] == StepStatus.COMPLETED.value else None)


def wait_keys_of(run: RunState) -> tuple[str, ...]:
    """All keys under which an event wakes the run."""
    waiting = run.waiting
    if waiting is None or run.status is not RunStatus.WAITING or waiting.reason is not WaitReason.EVENT:
        return ()
    several = (waiting.details or {}).get("wait_keys")
    extra = [key for key in several if isinstance(key, str)] if isinstance(several, list) else []
    first = [] if waiting.wait_key is None else [waiting.wait_key]
    return tuple(dict.fromkeys(first + extra))


def summary_of(run: RunState, *, version: int, due_at: float | None) -> RunSummary:
    waiting = run.waiting
    return RunSummary(
        run_id=run.run_id,
        workflow_id=run.workflow_id,
        status=run.status,
        current_node=run.current_node,
        wait_reason=None if waiting is None else waiting.reason,
        wait_key=None if waiting is None else waiting.wait_key,
        parent_run_id=run.parent_run_id,
        actor_id=run.actor_id,
        session_id=run.session_id,
        created_at=run.created_at,
        updated_at=run.updated_at,
        version=version,
        hold_reason=None,
        due_at=due_at,
    )


def checkpoint_of(row: Row, now: float) -> Checkpoint:
    return Checkpoint(
        run=RunState.from_dict(decode(row.text)),
        version=row.summary.version,
        ledger_seq=row.ledger_seq,
        depth=row.depth,
        step=None if row.step_text is None else EffectStep.from_dict(decode(row.step_text)),
        attempts=row.attempts,
        redeliveries=row.redeliveries,
        task=row.task,
        wake_at=row.wake_at,
        due_at=row.summary.due_at,
        lease_until=row.lease_until,
        hold_reason=row.summary.hold_reason,
        started_at=row.started_at,
        now=now,
        priority=row.priority,
        admission=row.admission,
    )


def put(tables: Tables, row: Row) -> None:
    """Store the row and keep the two indexes in step: who is awake, who waits for what."""
    run_id = row.summary.run_id
    old = tables.runs.get(run_id)
    old_keys = () if old is None else old.wait_keys
    if old_keys != row.wait_keys:
        for key in old_keys:
            tables.waiting[key].discard(run_id)
        for key in row.wait_keys:
            tables.waiting[key].add(run_id)
    if row.wake_at is None:
        tables.awake.pop(run_id, None)
    else:
        tables.awake[run_id] = row.wake_at
    tables.runs[run_id] = row


def put_back(tables: Tables, run_id: str, old: Row | None) -> None:
    if old is not None:
        put(tables, old)
        return
    for key in tables.runs.pop(run_id).wait_keys:
        tables.waiting[key].discard(run_id)
    tables.awake.pop(run_id, None)
