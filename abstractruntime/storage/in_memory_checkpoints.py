"""The checkpoint store without a database: for simulations and unit tests.

Same behaviour as the SQL store, including what it refuses: states are kept as the JSON text a database
would hold, so every load is an independent copy that has been through JSON. One lock; time comes from the
caller.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from threading import RLock
from typing import Any

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.models import RunState, RunStatus, StepStatus, WaitReason

from .checkpoints import (
    Checkpoint,
    DueRun,
    Event,
    LedgerEntry,
    PriorResult,
    RunFilter,
    RunSummary,
    StoredEvent,
    Task,
    Unit,
    Write,
    Written,
)
from .json_text import decode, encode

__all__ = ["InMemoryCheckpointStore"]

MAX_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class _Row:
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


@dataclass(frozen=True, slots=True)
class _Record:
    text: str
    completed_key: str | None


@dataclass(frozen=True, slots=True)
class _InboxEvent:
    seq: int
    event: Event
    payload_text: str
    added_at: float


@dataclass(slots=True)
class _Tables:
    runs: dict[str, _Row] = field(default_factory=dict)
    awake: dict[str, float] = field(default_factory=dict)
    waiting: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    children: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ledgers: defaultdict[str, list[_Record]] = field(default_factory=lambda: defaultdict(list))
    completed: dict[tuple[str, str], str] = field(default_factory=dict)
    event_ids: set[str] = field(default_factory=set)
    events: defaultdict[str, list[_InboxEvent]] = field(default_factory=lambda: defaultdict(list))
    cursors: dict[tuple[str, str], int] = field(default_factory=dict)
    schedules: dict[str, float] = field(default_factory=dict)
    last_event_seq: int = 0


class InMemoryCheckpointStore:
    """See `checkpoints.CheckpointStore`.

    Args:
        clock: the store's time, epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = RLock()
        self._tables = _Tables()

    def load(self, run_id: str) -> Checkpoint | None:
        with self._lock:
            row = self._tables.runs.get(run_id)
            return None if row is None else _checkpoint(row, self._clock())

    def commit(self, write: Write) -> Written:
        with self.unit() as unit:
            return unit.write(write)

    @contextmanager
    def _unit(self) -> Iterator[Unit]:
        with self._lock:
            unit = _InMemoryUnit(self._tables, self._clock)
            try:
                yield unit
            except BaseException:
                unit.undo()
                raise

    def unit(self) -> AbstractContextManager[Unit]:
        return self._unit()

    def extend_lease(self, run_id: str, version: int, seconds: float) -> bool:
        with self._lock:
            row = self._tables.runs.get(run_id)
            if row is None or row.summary.version != version:
                return False
            until = self._clock() + seconds
            _put(self._tables, replace(row, lease_until=until, wake_at=until))
            return True

    def defer(self, run_id: str, version: int, seconds: float, reason: str) -> bool:
        with self._lock:
            row = self._tables.runs.get(run_id)
            if row is None or row.summary.version != version:
                return False
            summary = replace(row.summary, hold_reason=reason)
            _put(self._tables, replace(row, summary=summary, wake_at=self._clock() + seconds))
            return True

    def claim_due(self, *, limit: int, grace_s: float) -> list[DueRun]:
        with self._lock:
            now = self._clock()
            due = sorted((at, run_id) for run_id, at in self._tables.awake.items() if at <= now)
            return [self._claim(run_id, now, grace_s) for _, run_id in due[: max(0, limit)]]

    def _claim(self, run_id: str, now: float, grace_s: float) -> DueRun:
        row = self._tables.runs[run_id]
        due_at = row.summary.due_at
        delay = 0.0 if due_at is None else max(0.0, due_at - now)
        wake_at = now + delay + grace_s * 2 ** min(row.redeliveries, MAX_DOUBLINGS)
        redeliveries = row.redeliveries + (0 if delay > 0 else 1)
        _put(self._tables, replace(row, wake_at=wake_at, redeliveries=redeliveries))
        seen = row.summary
        return DueRun(run_id, seen.version, seen.current_node, seen.workflow_id, row.task, delay)

    def find_runs(self, where: RunFilter, *, limit: int = 100, before: str | None = None) -> list[RunSummary]:
        with self._lock:
            found = [row.summary for row in self._tables.runs.values() if _matches(row.summary, where)]
        if before is not None:
            found = [summary for summary in found if summary.updated_at < before]
        found.sort(key=lambda summary: (summary.updated_at, summary.run_id), reverse=True)
        return found[: max(0, limit)]

    def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[LedgerEntry]:
        with self._lock:
            records = self._tables.ledgers.get(run_id, [])
            after = max(0, after)
            end = None if limit is None else after + max(0, limit)
            return [
                LedgerEntry(seq, decode(record.text))
                for seq, record in enumerate(records[after:end], start=after + 1)
            ]

    def status_counts(self) -> Mapping[str, int]:
        counts: dict[str, int] = {}
        with self._lock:
            for row in self._tables.runs.values():
                counts[row.summary.status.value] = counts.get(row.summary.status.value, 0) + 1
        return counts

    def schedule_cursor(self, schedule_id: str) -> float:
        with self._lock:
            return self._tables.schedules.setdefault(schedule_id, self._clock())

    def advance_schedule(self, schedule_id: str, *, seen: float, to: float) -> bool:
        with self._lock:
            if self._tables.schedules.get(schedule_id) != seen:
                return False
            self._tables.schedules[schedule_id] = to
            return True

    def now(self) -> float:
        return self._clock()


class _InMemoryUnit:
    """Writes at once and remembers how to undo; the store's lock is held throughout."""

    def __init__(self, tables: _Tables, clock: Callable[[], float]) -> None:
        self._tables = tables
        self._clock = clock
        self._now: float | None = None
        self._undo: list[Callable[[], object]] = []

    def undo(self) -> None:
        while self._undo:
            self._undo.pop()()

    @property
    def now(self) -> float:
        if self._now is None:
            self._now = self._clock()
        return self._now

    def load(self, run_id: str) -> Checkpoint | None:
        row = self._tables.runs.get(run_id)
        return None if row is None else _checkpoint(row, self.now)

    def write(self, write: Write) -> Written:
        tables, run = self._tables, write.run
        summary = _summary(run, version=write.before.version + 1, due_at=write.due_at)
        text = _text(run)
        records = [_record(record.to_dict(), run.run_id) for record in write.records]
        step = write.step
        step_text = None if step is None else encode(step.to_dict(), f"the step of run '{run.run_id}'")
        if write.unless_completed is not None and (run.run_id, write.unless_completed) in tables.completed:
            return Written.ALREADY_DONE
        old = tables.runs.get(run.run_id)
        if old is None or old.summary.version != write.before.version:
            return Written.CONFLICT
        self._put(
            _Row(
                text=text,
                summary=summary,
                wait_keys=_wait_keys(run),
                ledger_seq=old.ledger_seq + len(records),
                depth=old.depth,
                step_text=step_text,
                attempts=write.attempts,
                redeliveries=0,
                task=write.task,
                wake_at=write.wake_at,
                lease_until=write.lease_until,
                started_at=old.started_at,
            )
        )
        for record in records:
            self._append(run.run_id, record)
        return Written.OK

    def _append(self, run_id: str, record: _Record) -> None:
        ledger = self._tables.ledgers[run_id]
        ledger.append(record)
        self._undo.append(ledger.pop)
        key = record.completed_key
        if key is not None and (run_id, key) not in self._tables.completed:
            self._tables.completed[run_id, key] = record.text
            self._undo.append(lambda: self._tables.completed.pop((run_id, key)))

    def insert(self, run: RunState, *, depth: int, wake_at: float | None) -> bool:
        tables = self._tables
        text = _text(run)
        if run.run_id in tables.runs:
            return False
        self._put(
            _Row(
                text=text,
                summary=_summary(run, version=1, due_at=None),
                wait_keys=_wait_keys(run),
                ledger_seq=len(tables.ledgers.get(run.run_id, ())),
                depth=depth,
                step_text=None,
                attempts=0,
                redeliveries=0,
                task=Task.TICK,
                wake_at=wake_at,
                lease_until=None,
                started_at=self._clock(),
            )
        )
        if run.parent_run_id:
            siblings = tables.children[run.parent_run_id]
            siblings.append(run.run_id)
            self._undo.append(siblings.pop)
        return True

    def _put(self, row: _Row) -> None:
        old = self._tables.runs.get(row.summary.run_id)
        _put(self._tables, row)
        self._undo.append(lambda: _put_back(self._tables, row.summary.run_id, old))

    def lock_keys(self, keys: Iterable[str]) -> None:
        """Nothing to do: the unit excludes all others anyway."""

    def add_event(self, event: Event) -> int | None:
        tables = self._tables
        payload_text = encode(event.payload, f"the payload of event '{event.event_id}'")
        if event.event_id in tables.event_ids:
            return None
        tables.last_event_seq += 1  # not undone: positions may have gaps, as in a database
        stored = _InboxEvent(tables.last_event_seq, event, payload_text, self._clock())
        tables.event_ids.add(event.event_id)
        self._undo.append(lambda: tables.event_ids.discard(event.event_id))
        for key in {event.wait_key, event.wildcard_key} - {None}:
            queue = tables.events[str(key)]
            queue.append(stored)
            self._undo.append(queue.pop)
        return stored.seq

    def waiting_on(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        found: dict[str, str] = {}
        for key in dict.fromkeys(keys):
            for run_id in self._tables.waiting.get(key, ()):
                found.setdefault(run_id, key)
        return sorted(found.items())

    def next_event(self, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
        best: tuple[int, int, str, _InboxEvent] | None = None
        now = self._clock()
        for rank, key in enumerate(keys):
            cursor = self._tables.cursors.get((run_id, key), 0)
            for stored in self._tables.events.get(key, ()):
                if stored.seq <= cursor or not _visible(stored, run_id, since, now):
                    continue
                order = 2 * rank + (0 if stored.event.wait_key == key else 1)
                if best is None or (stored.seq, order) < best[:2]:
                    best = (stored.seq, order, key, stored)
                break
        if best is None:
            return None
        seq, _, key, stored = best
        return StoredEvent(seq, stored.event.event_id, key, decode(stored.payload_text))

    def consume(self, run_id: str, wait_key: str, seq: int) -> None:
        cursors, slot = self._tables.cursors, (run_id, wait_key)
        old = cursors.get(slot)
        if old is None:
            cursors[slot] = seq
            self._undo.append(lambda: cursors.pop(slot))
        elif old < seq:
            cursors[slot] = seq
            self._undo.append(lambda: cursors.__setitem__(slot, old))

    def open_children(self, run_id: str) -> list[str]:
        runs = self._tables.runs
        children = [runs[child].summary for child in self._tables.children.get(run_id, ())]
        open_ones = [child for child in children if child.status in (RunStatus.RUNNING, RunStatus.WAITING)]
        return [child.run_id for child in sorted(open_ones, key=lambda c: (c.created_at, c.run_id))]

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        text = self._tables.completed.get((run_id, key))
        return None if text is None else PriorResult(decode(text).get("result"))


def _text(run: RunState) -> str:
    return encode(run.to_dict(), f"run '{run.run_id}'")


def _record(data: dict[str, Any], run_id: str) -> _Record:
    text = encode(data, f"a ledger record of run '{run_id}' (node '{data['node_id']}')")
    return _Record(text, data["idempotency_key"] if data["status"] == StepStatus.COMPLETED.value else None)


def _wait_keys(run: RunState) -> tuple[str, ...]:
    """All keys under which an event wakes the run."""
    waiting = run.waiting
    if waiting is None or run.status is not RunStatus.WAITING or waiting.reason is not WaitReason.EVENT:
        return ()
    several = (waiting.details or {}).get("wait_keys")
    extra = [key for key in several if isinstance(key, str)] if isinstance(several, list) else []
    first = [] if waiting.wait_key is None else [waiting.wait_key]
    return tuple(dict.fromkeys(first + extra))


def _summary(run: RunState, *, version: int, due_at: float | None) -> RunSummary:
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


def _checkpoint(row: _Row, now: float) -> Checkpoint:
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
    )


def _put(tables: _Tables, row: _Row) -> None:
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


def _put_back(tables: _Tables, run_id: str, old: _Row | None) -> None:
    if old is not None:
        _put(tables, old)
        return
    for key in tables.runs.pop(run_id).wait_keys:
        tables.waiting[key].discard(run_id)
    tables.awake.pop(run_id, None)


def _visible(stored: _InboxEvent, run_id: str, since: float, now: float) -> bool:
    """Added in the run's life time, not expired, not the run's own."""
    alive = since <= stored.added_at and now < stored.added_at + stored.event.ttl_s
    return alive and stored.event.emitter_run_id != run_id


def _matches(summary: RunSummary, where: RunFilter) -> bool:
    pairs = (
        (where.status, summary.status),
        (where.wait_reason, summary.wait_reason),
        (where.workflow_id, summary.workflow_id),
        (where.session_id, summary.session_id),
        (where.parent_run_id, summary.parent_run_id),
    )
    if any(wanted is not None and wanted != actual for wanted, actual in pairs):
        return False
    return not (where.root_only and summary.parent_run_id)
