"""The checkpoint store without a database: for simulations and unit tests.

Same behaviour as the SQL store, including what it refuses. One lock; time comes from the caller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from threading import RLock

from .checkpoints import Checkpoint, DueRun, LedgerEntry, RunFilter, RunSummary, Task, Unit, Write, Written
from .in_memory_tables import Tables, checkpoint_of, put
from .in_memory_unit import InMemoryUnit
from .json_text import decode

__all__ = ["InMemoryCheckpointStore"]

MAX_DOUBLINGS = 2


class InMemoryCheckpointStore:
    """See `checkpoints.CheckpointStore`.

    Args:
        clock: the store's time, epoch seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = RLock()
        self._tables = Tables()

    def load(self, run_id: str) -> Checkpoint | None:
        with self._lock:
            row = self._tables.runs.get(run_id)
            return None if row is None else checkpoint_of(row, self._clock())

    def commit(self, write: Write) -> Written:
        with self.unit() as unit:
            return unit.write(write)

    @contextmanager
    def _unit(self) -> Iterator[Unit]:
        with self._lock:
            unit = InMemoryUnit(self._tables, self._clock)
            try:
                yield unit
            except BaseException:
                unit.undo()
                raise

    def unit(self) -> AbstractContextManager[Unit]:
        return self._unit()

    def extend_lease(self, run_id: str, version: int, seconds: float, *, revive: bool = True) -> bool:
        with self._lock:
            row = self._tables.runs.get(run_id)
            if row is None or row.summary.version != version:
                return False
            now = self._clock()
            if not revive and (row.lease_until or 0.0) < now + seconds / 20:
                return False
            until = now + seconds
            # Who has paused the run has taken it out of the wake-up index.
            wake_at = None if row.wake_at is None else until
            put(self._tables, replace(row, lease_until=until, wake_at=wake_at))
            return True

    def defer(self, run_id: str, version: int, seconds: float, reason: str) -> bool:
        with self._lock:
            row = self._tables.runs.get(run_id)
            if row is None or row.summary.version != version:
                return False
            summary = replace(row.summary, hold_reason=reason)
            put(self._tables, replace(row, summary=summary, wake_at=self._clock() + seconds))
            return True

    def claim_due(
        self, *, limit: int, grace_s: float, ageing_s: float = 60.0, only: Task | None = None
    ) -> list[DueRun]:
        with self._lock:
            now, runs = self._clock(), self._tables.runs
            due = sorted(
                (at - runs[run_id].priority * ageing_s, run_id)
                for run_id, at in self._tables.awake.items()
                if at <= now and (only is None or runs[run_id].task is only)
            )
            return [self._claim(run_id, now, grace_s) for _, run_id in due[: max(0, limit)]]

    def _claim(self, run_id: str, now: float, grace_s: float) -> DueRun:
        row = self._tables.runs[run_id]
        due_at = row.summary.due_at
        delay = 0.0 if due_at is None else max(0.0, due_at - now)
        wake_at = now + delay + grace_s * 2 ** min(row.redeliveries, MAX_DOUBLINGS)
        redeliveries = row.redeliveries + (0 if delay > 0 else 1)
        put(self._tables, replace(row, wake_at=wake_at, redeliveries=redeliveries))
        seen = row.summary
        return DueRun(run_id, seen.version, seen.current_node, seen.workflow_id, row.task, delay)

    def forget_claims(self, *, limit: int = 1000) -> int:
        with self._lock:
            now, claims = self._clock(), self._tables.claims
            gone = [(key, entry) for key, entries in claims.items() for entry in entries if entry[1] <= now]
            for key, entry in gone[: max(0, limit)]:
                claims[key].remove(entry)
                if not claims[key]:
                    del claims[key]
            return len(gone[: max(0, limit)])

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
