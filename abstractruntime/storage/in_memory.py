"""Stores that live as long as the process: for tests, notebooks and short scripts (`spec/02 §4`).

They hand out independent copies and refuse what the durable stores refuse. Safe to share among threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from threading import RLock
from typing import Any

from abstractruntime.core.copies import copied
from abstractruntime.core.members import STEP_COMPLETED
from abstractruntime.core.models import RunState, RunStatus, StepRecord, StepStatus, WaitReason
from abstractruntime.core.waiters import event_keys_of

from .base import DEFAULT_LIMIT, LedgerStore, RecordDicts, RunStore
from .checkpoints import PriorResult
from .copies import copy_run, storable_record, storable_run
from .due_runs import DueRun, due_page, wake_time
from .ledger_metrics import Metrics, add_completed, wanted_ids
from .run_index import due_time, index_limit, index_row, stripped, wanted_rows
from .run_trees import RunMark, RunTrees, check_ended, oldest_roots, trees_of
from .wait_index import WaitIndex

__all__ = ["InMemoryLedgerStore", "InMemoryRunStore"]


class InMemoryRunStore(RunStore):
    """Checkpoints in a dict. Also a `QueryableRunStore` and `QueryableRunIndexStore`."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._runs: dict[str, RunState] = {}
        self._versions: dict[str, int] = {}
        self._parked: set[str] = set()
        """Who is in one of the three indexes below."""
        self._due: dict[str, str] = {}
        self._wakes: dict[str, DueRun] = {}
        self._waiting = WaitIndex()

    def save(self, run: RunState) -> None:
        """Keep a copy of the run.

        Raises:
            TypeError, InvalidInputError: it holds something that has no JSON form, or its status is none.
        """
        kept = storable_run(run)
        with self._lock:
            self._put(kept, self._versions.get(kept.run_id, 0))

    def swap(self, run: RunState, *, before: RunState, version: int) -> int | None:
        """`save` if the stored checkpoint still has this `version_of`; the new version, else ``None``."""
        kept = storable_run(run)
        with self._lock:
            stored = self._versions.get(run.run_id, 0)
            return self._put(kept, stored) if stored == version else None

    def _put(self, kept: RunState, version: int) -> int:
        run_id = kept.run_id
        self._runs[run_id] = kept
        version = self._versions[run_id] = version + 1
        if run_id in self._parked:
            self._unpark(run_id)
        if kept.waiting is not None:
            self._park(kept)
        return version

    def _park(self, kept: RunState) -> None:
        run_id = kept.run_id
        self._parked.add(run_id)
        self._waiting.put(run_id, event_keys_of(kept))
        wakes, until = wake_time(kept), due_time(kept)
        if wakes is not None:
            self._wakes[run_id] = DueRun(wakes, run_id, kept.workflow_id)
        if until is not None:
            self._due[run_id] = until

    def _unpark(self, run_id: str) -> None:
        self._parked.discard(run_id)
        self._waiting.put(run_id, ())
        self._wakes.pop(run_id, None)
        self._due.pop(run_id, None)

    def load(self, run_id: str) -> RunState | None:
        """A copy of the run, or ``None``."""
        with self._lock:
            run = self._runs.get(run_id)
        # Outside the lock: what is stored is replaced by `save`, never changed.
        return None if run is None else copy_run(run)

    def version_of(self, run_id: str) -> int:
        """Grows with every save of the run; 0 when it is unknown."""
        # No lock for a single look-up. A save puts the run first and its version second, so the version found
        # is never newer than the run that a `load` after it finds.
        return self._versions.get(run_id, 0)

    def delete(self, run_id: str, *, force: bool = False) -> bool:
        """See `run_trees.PurgeableRunStore.delete`."""
        with self._lock:
            run = self._runs.get(run_id)
            if run is None:
                return False
            if not force:
                check_ended(run_id, run.status)
            del self._runs[run_id], self._versions[run_id]
            self._unpark(run_id)
        return True

    def list_oldest_roots(
        self, *, status: RunStatus, updated_before: str, after: RunMark | None = None, limit: int = 100
    ) -> list[RunMark]:
        """See `run_trees.PurgeableRunStore.list_oldest_roots`."""
        rows = self._rows()
        return oldest_roots(rows, status=status, updated_before=updated_before, after=after, limit=limit)

    def list_trees(self, root_ids: Sequence[str]) -> RunTrees:
        """See `run_trees.PurgeableRunStore.list_trees`."""
        return trees_of(self._rows(), root_ids)

    def _rows(self) -> list[dict[str, Any]]:
        with self._lock:
            runs = list(self._runs.values())
        return [index_row(run) for run in runs]

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RunState]:
        """See `QueryableRunStore.list_runs`."""

        def matches(run: RunState) -> bool:
            if status is not None and run.status != status:
                return False
            if wait_reason is not None and (run.waiting is None or run.waiting.reason != wait_reason):
                return False
            return workflow_id is None or run.workflow_id == workflow_id

        newest_first = self._newest_first(matches)
        return [copy_run(run) for run in newest_first[: wanted_rows(limit)]]

    def list_due_wait_until(self, *, now_iso: str, limit: int = DEFAULT_LIMIT) -> list[RunState]:
        """See `QueryableRunStore.list_due_wait_until`."""
        now = now_iso.strip()
        with self._lock:
            due = sorted((until, run_id) for run_id, until in self._due.items() if until <= now)
            runs = [self._runs[run_id] for _, run_id in due[: wanted_rows(limit)]]
        return [copy_run(run) for run in runs]

    def list_due(
        self, *, now_iso: str, after: DueRun | None = None, limit: int = DEFAULT_LIMIT
    ) -> list[DueRun]:
        """See `due_runs.DueRunStore.list_due`."""
        with self._lock:
            waiting = list(self._wakes.values())
        return due_page(waiting, now_iso, after, limit)

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        """See `QueryableRunStore.list_children`."""
        if not parent_run_id.strip():
            return []
        with self._lock:
            children = [run for run in self._runs.values() if run.parent_run_id == parent_run_id]
        wanted = [run for run in children if status is None or run.status == status]
        wanted.sort(key=lambda run: (run.created_at or "", run.run_id))
        return [copy_run(run) for run in wanted]

    def list_waiting_on(self, *, wait_keys: Iterable[str]) -> list[RunState]:
        """All runs that wait for an event with one of these keys, newest update first."""
        with self._lock:
            found = [self._runs[run_id] for run_id in self._waiting.runs(wait_keys)]
        found.sort(key=lambda run: (run.updated_at or "", run.run_id), reverse=True)
        return [copy_run(run) for run in found]

    def list_wait_keys(self, *, prefix: str) -> list[str]:
        """All event keys with this beginning that some run waits for."""
        with self._lock:
            return self._waiting.keys(prefix)

    def list_run_index(
        self,
        *,
        status: RunStatus | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        root_only: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> list[dict[str, Any]]:
        """See `QueryableRunIndexStore.list_run_index`."""
        session = stripped(session_id)

        def matches(run: RunState) -> bool:
            if status is not None and run.status != status:
                return False
            if workflow_id is not None and run.workflow_id != workflow_id:
                return False
            if root_only and run.parent_run_id:
                return False
            return session is None or stripped(run.session_id) == session

        return [index_row(run) for run in self._newest_first(matches)[: index_limit(limit)]]

    def _newest_first(self, matches: Callable[[RunState], bool]) -> list[RunState]:
        with self._lock:
            found = [run for run in self._runs.values() if matches(run)]
        found.sort(key=lambda run: (run.updated_at or "", run.run_id), reverse=True)
        return found


class InMemoryLedgerStore(LedgerStore):
    """Journals in lists, with an index of completed records by idempotency key."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._records: dict[str, RecordDicts] = {}
        self._completed: dict[tuple[str, str], dict[str, Any]] = {}

    def append(self, record: StepRecord) -> None:
        """Keep a copy of the record as it is now.

        Raises:
            TypeError, InvalidInputError: it holds something that has no JSON form.
        """
        kept = storable_record(record)
        key = record.idempotency_key
        run_id = record.run_id
        with self._lock:
            records = self._records.get(run_id)
            if records is None:
                records = self._records[run_id] = []
            records.append(kept)
            if key is not None and record.status is STEP_COMPLETED:
                self._completed.setdefault((run_id, key), kept)

    def delete(self, run_id: str) -> bool:
        """See `run_trees.DeletableLedgerStore.delete`."""
        with self._lock:
            records = self._records.pop(run_id, None)
            for record in records or ():
                self._completed.pop((run_id, record["idempotency_key"]), None)
        return records is not None

    def list(self, run_id: str) -> RecordDicts:
        """Copies of the run's records in append order."""
        with self._lock:
            records = self._records.get(run_id, [])[:]
        return [copied(record) for record in records]

    def count(self, run_id: str) -> int:
        """Number of the run's records."""
        with self._lock:
            return len(self._records.get(run_id, ()))

    def count_many(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Number of records by run; unknown runs are left out."""
        counts = {run_id: self.count(run_id) for run_id in wanted_ids(run_ids)}
        return {run_id: count for run_id, count in counts.items() if count}

    def metrics_many(self, run_ids: Iterable[str]) -> dict[str, Metrics]:
        """``steps, llm_calls, tool_calls, tokens_total`` by run with at least one completed record."""
        metrics: dict[str, Metrics] = {}
        for run_id in wanted_ids(run_ids):
            with self._lock:
                records = self._records.get(run_id, [])[:]
            for record in records:
                if record["status"] == StepStatus.COMPLETED:
                    add_completed(metrics, run_id, record)
        return metrics

    def list_after(self, *, run_id: str, after: int, limit: int = 1000) -> tuple[RecordDicts, int]:
        """Records with a position (from 1) beyond ``after``, and the last position read."""
        start = max(0, after)
        with self._lock:
            records = self._records.get(run_id, [])[start : start + max(1, limit or 1000)]
        return [copied(record) for record in records], start + len(records) if records else after

    def last(self, run_id: str) -> dict[str, Any] | None:
        """A copy of the run's newest record, or ``None``."""
        with self._lock:
            records = self._records.get(run_id)
            newest = records[-1] if records else None
        return None if newest is None else dict(copied(newest))

    def find_completed(self, run_id: str, key: str) -> PriorResult | None:
        """The result of the first COMPLETED record with this idempotency key. Cost does not grow with the
        ledger."""
        record = self._completed.get((run_id, key))  # a single look-up needs no lock
        return None if record is None else PriorResult(copied(record["result"]))
