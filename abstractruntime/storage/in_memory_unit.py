"""A transaction over Python objects: writes at once and remembers how to undo."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from abstractruntime.core.models import RunState, RunStatus

from .checkpoints import Checkpoint, Event, PriorResult, StoredEvent, Task, Write, Written
from .in_memory_slots import InMemorySlots
from .in_memory_tables import (
    InboxEvent,
    Record,
    Row,
    Tables,
    checkpoint_of,
    put,
    put_back,
    record_of,
    summary_of,
    text_of,
    wait_keys_of,
)
from .json_text import decode, encode
from .slots import UNSENT

__all__ = ["InMemoryUnit"]


class InMemoryUnit:
    """Writes at once and remembers how to undo; the store's lock is held throughout."""

    def __init__(self, tables: Tables, clock: Callable[[], float]) -> None:
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
        return None if row is None else checkpoint_of(row, self.now)

    def write(self, write: Write) -> Written:
        tables, run = self._tables, write.run
        summary = summary_of(run, version=write.before.version + 1, due_at=write.due_at)
        text = write.run_text = text_of(run)
        records = [record_of(record.to_dict(), run.run_id) for record in write.records]
        step = write.step
        step_text = None if step is None else encode(step.to_dict(), f"the step of run '{run.run_id}'")
        if any((run.run_id, key) in tables.completed for key in write.unless_completed):
            return Written.ALREADY_DONE
        old = tables.runs.get(run.run_id)
        if old is None or old.summary.version != write.before.version:
            return Written.CONFLICT
        self._put(
            Row(
                text=text,
                summary=summary,
                wait_keys=wait_keys_of(run),
                ledger_seq=old.ledger_seq + len(records),
                depth=old.depth,
                step_text=step_text,
                attempts=write.attempts,
                redeliveries=0,
                task=write.task,
                wake_at=write.wake_at,
                lease_until=write.lease_until,
                started_at=old.started_at,
                priority=old.priority,
                admission=old.admission,
            )
        )
        for record in records:
            self._append(run.run_id, record)
        return Written.OK

    def _append(self, run_id: str, record: Record) -> None:
        ledger = self._tables.ledgers[run_id]
        ledger.append(record)
        self._undo.append(ledger.pop)
        key = record.completed_key
        if key is not None and (run_id, key) not in self._tables.completed:
            self._tables.completed[run_id, key] = record.text
            self._undo.append(lambda: self._tables.completed.pop((run_id, key)))

    def insert(
        self,
        run: RunState,
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> bool:
        tables = self._tables
        text = text_of(run)
        if run.run_id in tables.runs:
            return False
        self._put(
            Row(
                text=text,
                summary=summary_of(run, version=1, due_at=None),
                wait_keys=wait_keys_of(run),
                ledger_seq=len(tables.ledgers.get(run.run_id, ())),
                depth=depth,
                step_text=None,
                attempts=0,
                redeliveries=UNSENT if unsent else 0,
                task=Task.TICK,
                wake_at=wake_at,
                lease_until=None,
                started_at=self._clock(),
                priority=priority,
                admission=admission,
            )
        )
        if run.parent_run_id:
            siblings = tables.children[run.parent_run_id]
            siblings.append(run.run_id)
            self._undo.append(siblings.pop)
        return True

    def insert_many(
        self,
        runs: Sequence[RunState],
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> list[str]:
        place = partial(self.insert, depth=depth, wake_at=wake_at, priority=priority, admission=admission)
        return [run.run_id for run in runs if place(run, unsent=unsent)]

    def _put(self, row: Row) -> None:
        old = self._tables.runs.get(row.summary.run_id)
        put(self._tables, row)
        self._undo.append(lambda: put_back(self._tables, row.summary.run_id, old))

    @property
    def slots(self) -> InMemorySlots:
        return InMemorySlots(self._tables, self._clock, self._undo)

    def lock_keys(self, keys: Iterable[str]) -> None:
        """Nothing to do: the unit excludes all others anyway."""

    def add_event(self, event: Event) -> int | None:
        tables = self._tables
        payload_text = encode(event.payload, f"the payload of event '{event.event_id}'")
        if event.event_id in tables.event_ids:
            return None
        tables.last_event_seq += 1  # not undone: positions may have gaps, as in a database
        stored = InboxEvent(tables.last_event_seq, event, payload_text, self._clock())
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
        best: tuple[int, int, str, InboxEvent] | None = None
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


def _visible(stored: InboxEvent, run_id: str, since: float, now: float) -> bool:
    """Added in the run's life time, not expired, not the run's own."""
    alive = since <= stored.added_at and now < stored.added_at + stored.event.ttl_s
    return alive and stored.event.emitter_run_id != run_id
