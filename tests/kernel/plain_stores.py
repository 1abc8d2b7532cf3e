"""Stores with nothing but the contract's methods, as a host might write them.

No versions, no transactions, no index of completed keys, and no check that values have a JSON form.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitReason


class BareRunStore:
    """Only ``save`` and ``load``."""

    def __init__(self) -> None:
        self.runs: dict[str, RunState] = {}

    def save(self, run: RunState) -> None:
        self.runs[run.run_id] = deepcopy(run)

    def load(self, run_id: str) -> RunState | None:
        return deepcopy(self.runs.get(run_id))


class PlainRunStore(BareRunStore):
    """With the query methods that events and schedulers need (`spec/02 §2.3`)."""

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = 100,
    ) -> list[RunState]:
        found = [
            run
            for run in list(self.runs.values())
            if status in (None, run.status)
            and workflow_id in (None, run.workflow_id)
            and (wait_reason is None or (run.waiting is not None and run.waiting.reason is wait_reason))
        ]
        found.sort(key=lambda run: run.updated_at, reverse=True)
        return deepcopy(found[:limit])

    def list_due_wait_until(self, *, now_iso: str, limit: int = 100) -> list[RunState]:
        waiting = self.list_runs(status=RunStatus.WAITING, wait_reason=WaitReason.UNTIL, limit=10**9)
        due = [run for run in waiting if run.waiting and (run.waiting.until or "~") <= now_iso]
        return sorted(due, key=lambda run: str(run.waiting and run.waiting.until))[:limit]

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        return [
            run for run in self.list_runs(status=status, limit=10**9) if run.parent_run_id == parent_run_id
        ]


class PlainLedgerStore:
    """Only ``append`` and ``list``."""

    def __init__(self) -> None:
        self.records: dict[str, list[dict[str, Any]]] = {}

    def append(self, record: StepRecord) -> None:
        self.records.setdefault(record.run_id, []).append(deepcopy(record.to_dict()))

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return deepcopy(self.records.get(run_id, []))


class LiveRunStore(PlainRunStore):
    """Hands out the very objects it keeps, as the published package's in-memory store does."""

    def save(self, run: RunState) -> None:
        self.runs[run.run_id] = run

    def load(self, run_id: str) -> RunState | None:
        return self.runs.get(run_id)
