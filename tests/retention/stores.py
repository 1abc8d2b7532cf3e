"""The same set of stores on every backend, and runs of any age in them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from abstractruntime.core.models import RunState, RunStatus, StepRecord
from abstractruntime.core.times import to_iso
from abstractruntime.storage.artifacts import ArtifactStore
from abstractruntime.storage.snapshots import Snapshot, SnapshotStore
from tests.storage.runs import a_record, a_run

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=timezone.utc)
DONE, FAILED, CANCELLED = RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED
WAITING, RUNNING = RunStatus.WAITING, RunStatus.RUNNING


def ago(days: float) -> str:
    """That long before `NOW`, as stores keep it."""
    return to_iso(NOW - timedelta(days=days))


def make_run(run_id: str, status: RunStatus = DONE, *, days: float = 60, **fields: Any) -> RunState:
    """A run that was last touched that many days before `NOW`."""
    return a_run(run_id, status=status, updated_at=ago(days), **fields)


@dataclass
class Stores:
    """Stores of one kind.

    Attributes:
        folder: where they keep their files, if they do.
    """

    runs: Any
    ledgers: Any
    artifacts: ArtifactStore
    snapshots: SnapshotStore
    folder: Path | None = None

    def put(self, *runs: RunState, records: int = 2) -> None:
        """Save runs, each with ledger records, an artifact and a snapshot."""
        for run in runs:
            self.runs.save(run)
            for i in range(records):
                self.ledgers.append(self.record(run, i))
            self.artifacts.store(f"of {run.run_id}".encode(), run_id=run.run_id)
            self.snapshots.save(replace(Snapshot.from_run(run=run, name="s"), snapshot_id=f"s-{run.run_id}"))

    def record(self, run: RunState, i: int) -> StepRecord:
        return a_record(run, f"key-{i}", result={"i": i})

    def ids(self) -> set[str]:
        """Ids of all runs."""
        return {row["run_id"] for row in self.runs.list_run_index(limit=10_000)}

    def traces_of(self, run_id: str) -> list[object]:
        """Whatever any store still holds of the run."""
        return [
            *([] if self.runs.load(run_id) is None else [run_id]),
            *self.ledgers.list(run_id),
            *self.artifacts.list_by_run(run_id),
            *self.snapshots.list(run_id=run_id),
        ]

    def is_whole(self, run_id: str, records: int = 2) -> bool:
        """Whether nothing of what `put` kept is missing."""
        return len(self.traces_of(run_id)) == 3 + records
