"""The stores a purge works on, and what one run has in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from abstractruntime.core import faults
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.forwarding import stores_inside
from abstractruntime.storage.observable import count_records_many
from abstractruntime.storage.run_trees import RunMark
from abstractruntime.storage.snapshots import SnapshotStore

from .report import PurgeReport

__all__ = ["EventInbox", "PurgedStores", "Tree"]

Tree = list[RunMark]


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
        self.snapshots = None if snapshots is None else _Snapshots(snapshots)
        self._payloads = [store for store in (artifacts, snapshots) if store is not None]
        self._lock_ended: Callable[[Sequence[str]], dict[str, str]] | None = getattr(runs, "lock_ended", None)

    def together(self) -> AbstractContextManager[object]:
        """A transaction over runs and ledgers, where there is such a thing."""
        atomic: Callable[[], AbstractContextManager[object]] | None = getattr(self.runs, "atomic", None)
        return nullcontext() if atomic is None or self._lock_ended is None else atomic()

    def untouched(self, trees: Sequence[Tree]) -> list[Tree]:
        """Those of the trees that nobody has touched since they were listed. In a transaction, from here on
        nobody can."""
        listed = [mark for tree in trees for mark in tree]
        found = self._ended([mark.run_id for mark in listed])
        return [tree for tree in trees if all(found.get(run_id) == at for at, run_id, _ in tree)]

    def _ended(self, run_ids: Sequence[str]) -> dict[str, str]:
        if self._lock_ended is not None:
            return self._lock_ended(run_ids)
        runs = [self.runs.load(run_id) for run_id in run_ids]
        return {run.run_id: run.updated_at for run in runs if run is not None and run.is_terminal}

    def count(self, run_ids: Sequence[str]) -> PurgeReport:
        """What these runs have."""
        part = PurgeReport(runs=len(run_ids))
        part.records = sum(count_records_many(self.ledgers, run_ids).values())
        if self.artifacts is not None:
            part.artifacts, part.artifact_bytes = _measure(self.artifacts, run_ids)
        if self.snapshots is not None:
            part.snapshots = self.snapshots.count(run_ids)
        return part

    def has_slow_payloads(self) -> bool:
        """Whether artifacts or snapshots are removed run by run, perhaps far away."""
        return not all(
            hasattr(store, "delete_by_runs") or hasattr(store, "ids_by_run") for store in self._payloads
        )

    def remove_payloads(self, run_ids: Sequence[str]) -> None:
        """Artifacts and snapshots of these runs."""
        if self.artifacts is not None:
            _delete_artifacts(self.artifacts, run_ids)
        if self.snapshots is not None:
            self.snapshots.delete(run_ids)
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


# Stores that know many runs at once have ``measure_runs`` or ``count_of_runs``, and ``delete_by_runs``;
# others are asked run by run.


def _measure(artifacts: ArtifactStore, run_ids: Sequence[str]) -> tuple[int, int]:
    measure: Callable[[Sequence[str]], tuple[int, int]] | None = getattr(artifacts, "measure_runs", None)
    if measure is not None:
        return measure(run_ids)
    sizes = [each.size_bytes for run_id in run_ids for each in artifacts.list_by_run(run_id)]
    return len(sizes), sum(sizes)


def _delete_artifacts(artifacts: ArtifactStore, run_ids: Sequence[str]) -> None:
    delete: Callable[[Sequence[str]], int] | None = getattr(artifacts, "delete_by_runs", None)
    if delete is not None:
        delete(run_ids)
        return
    for run_id in run_ids:
        artifacts.delete_by_run(run_id)


class _Snapshots:
    """Snapshots by run. A store that can only list everything it has is read once, not for each run."""

    def __init__(self, store: SnapshotStore) -> None:
        self._store = store
        self._ids: dict[str, list[str]] | None = None

    def count(self, run_ids: Sequence[str]) -> int:
        count: Callable[[Sequence[str]], int] | None = getattr(self._store, "count_of_runs", None)
        return sum(len(self._of(run_id)) for run_id in run_ids) if count is None else count(run_ids)

    def delete(self, run_ids: Sequence[str]) -> None:
        delete: Callable[[Sequence[str]], int] | None = getattr(self._store, "delete_by_runs", None)
        if delete is not None:
            delete(run_ids)
            return
        for run_id in run_ids:
            for snapshot_id in self._of(run_id):
                self._store.delete(snapshot_id)

    def _of(self, run_id: str) -> list[str]:
        ids_by_run: Callable[[], dict[str, list[str]]] | None = getattr(self._store, "ids_by_run", None)
        if ids_by_run is None:
            return [each.snapshot_id for each in self._store.list(run_id=run_id, limit=2**31)]
        if self._ids is None:
            self._ids = ids_by_run()
        return self._ids.get(run_id, [])
