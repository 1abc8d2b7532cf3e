"""The stores a purge works on, and what one run has in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from abstractruntime.core import faults
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.forwarding import stores_inside
from abstractruntime.storage.observable import count_records
from abstractruntime.storage.run_trees import RunMark
from abstractruntime.storage.snapshots import SnapshotStore

from .report import PurgeReport

__all__ = ["EventInbox", "PurgedStores"]

_SNAPSHOTS_AT_ONCE = 100


@runtime_checkable
class EventInbox(Protocol):
    """Where events are kept: a checkpoint store of the fleet."""

    def count_expired_events(self, *, added_before: float) -> int:
        """How many events have expired and were added before that time (epoch seconds)."""
        ...

    def delete_expired_events(self, *, added_before: float, limit: int) -> int:
        """Remove up to ``limit`` of them; how many it were."""
        ...


class PurgedStores:
    """Counts and removes what runs have.

    Raises:
        InvalidInputError: runs or ledgers can't be deleted from these stores.
    """

    def __init__(
        self,
        runs: object,
        ledgers: object,
        artifacts: ArtifactStore | None,
        snapshots: SnapshotStore | None,
    ) -> None:
        for store in stores_inside(runs):
            _require(store, "delete", "list_oldest_roots", "list_trees")
        for store in stores_inside(ledgers):
            _require(store, "delete")
        self.runs: Any = runs
        self.ledgers: Any = ledgers
        self.artifacts = artifacts
        self.snapshots = snapshots
        self._lock_ended: Callable[[Sequence[str]], dict[str, str]] | None = getattr(runs, "lock_ended", None)

    def together(self) -> AbstractContextManager[object]:
        """A transaction over runs and ledgers, where there is such a thing."""
        atomic: Callable[[], AbstractContextManager[object]] | None = getattr(self.runs, "atomic", None)
        return nullcontext() if atomic is None or self._lock_ended is None else atomic()

    def still_as_listed(self, tree: Sequence[RunMark]) -> bool:
        """Whether nobody has touched the tree since it was listed. In a transaction nobody can, from here
        on."""
        listed = {mark.run_id: mark.updated_at for mark in tree}
        if self._lock_ended is not None:
            return self._lock_ended([*listed]) == listed
        for run_id, updated_at in listed.items():
            run = self.runs.load(run_id)
            if run is None or not run.is_terminal or run.updated_at != updated_at:
                return False
        return True

    def count(self, tree: Sequence[RunMark]) -> PurgeReport:
        """What the tree has."""
        part = PurgeReport(runs=len(tree))
        for _, run_id, _ in tree:
            part.records += count_records(self.ledgers, run_id)
            if self.artifacts is not None:
                found = self.artifacts.list_by_run(run_id)
                part.artifacts += len(found)
                part.artifact_bytes += sum(metadata.size_bytes for metadata in found)
            if self.snapshots is not None:
                part.snapshots += len(self.snapshots.list(run_id=run_id, limit=2**31))
        return part

    def remove_payloads(self, tree: Sequence[RunMark]) -> None:
        """Artifacts and snapshots of the tree."""
        for _, run_id, _ in tree:
            if self.artifacts is not None:
                self.artifacts.delete_by_run(run_id)
            while self.snapshots is not None:
                found = self.snapshots.list(run_id=run_id, limit=_SNAPSHOTS_AT_ONCE)
                if not sum(self.snapshots.delete(snapshot.snapshot_id) for snapshot in found):
                    break
        faults.hit("purge.payloads_removed")

    def remove_runs(self, run_ids: Sequence[str]) -> None:
        """Ledgers, then the runs themselves, each after those below it: whatever ends this half-way leaves
        runs by which the next purge finds the rest."""
        _delete_all(self.ledgers, run_ids)
        faults.hit("purge.ledgers_removed")
        _delete_all(self.runs, run_ids, step="purge.run_removed")

    def collect_garbage(self) -> list[str]:
        """Contents that no artifact names any more; what could not be done."""
        gc: Callable[..., dict[str, Any]] | None = getattr(self.artifacts, "gc", None)
        if gc is None:
            return []
        return [str(each.get("error")) for each in gc(dry_run=False)["errors"]]


def _require(store: object, *methods: str) -> None:
    missing = [name for name in methods if not hasattr(store, name)]
    if missing:
        raise InvalidInputError(
            f"Nothing can be purged from a {type(store).__name__}: it has no {', '.join(missing)} "
            "(abstractruntime.storage.run_trees says what these do)"
        )


def _delete_all(store: Any, run_ids: Sequence[str], step: str | None = None) -> None:
    many = getattr(store, "delete_many", None)
    if many is not None:
        many(run_ids)
        return
    for run_id in run_ids:
        store.delete(run_id)
        if step is not None:
            faults.hit(step)
