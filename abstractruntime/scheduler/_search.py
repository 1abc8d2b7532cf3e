"""Which runs deserve a turn now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

from abstractruntime.core.control import is_paused
from abstractruntime.core.errors import UnknownWorkflowError
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import parse_time
from abstractruntime.storage.base import DEFAULT_LIMIT, QueryableRunStore
from abstractruntime.storage.due_runs import DueRun, DueRunStore

from ._turns import Report, Turn, TurnKind, Turns
from .registry import WorkflowRegistry

__all__ = ["Listed", "Search", "listed"]

_UNBOUNDED = 2**31 - 1
_WIDER = 4
_PAGE = 1000


class Search:
    """Looks for runs to drive. ``is_busy`` says which ones are being driven already."""

    def __init__(
        self,
        store: QueryableRunStore,
        registry: WorkflowRegistry,
        turns: Turns,
        report: Report,
        is_busy: Callable[[str], bool],
    ) -> None:
        self._store = store
        self._registry = registry
        self._turns = turns
        self._report = report
        self._is_busy = is_busy

    def due(self, now_iso: str, *, room: int, patient: bool) -> Iterator[Turn]:
        """At most ``room`` runs whose time has come, earliest first, however many others stand before them.

        Args:
            patient: runs of unregistered workflows are reported with rests in between, not each time.
        """
        for run_id, workflow_id in self._all_due(now_iso):
            if room <= 0:
                return
            if self._is_busy(run_id):
                continue
            workflow = self._registry.get(workflow_id)
            if workflow is None:
                self._unregistered(run_id, workflow_id, patient=patient)
            elif not self._turns.backoff.rests(run_id):
                room -= 1
                yield Turn(run_id, workflow, TurnKind.WAKE)

    def _all_due(self, now_iso: str) -> Iterator[tuple[str, str]]:
        """All due runs and their workflows: the contract's first page of timers; then, where the store tells
        them without reading them, the others and the time-outs, earliest first."""
        if not isinstance(self._store, DueRunStore):
            yield from self._timers(now_iso, DEFAULT_LIMIT, _UNBOUNDED)
            return
        passed: set[str] = set()
        for run_id, workflow_id in self._timers(now_iso, DEFAULT_LIMIT, DEFAULT_LIMIT):
            passed.add(run_id)
            yield run_id, workflow_id
        last: DueRun | None = None
        while True:
            page = self._store.list_due(now_iso=now_iso, after=last, limit=_PAGE)
            for last in page:
                if last.run_id not in passed:
                    yield last.run_id, last.workflow_id
            if len(page) < _PAGE:
                return

    def _timers(self, now_iso: str, limit: int, widest: int) -> Iterator[tuple[str, str]]:
        """What the contract's query tells. It has no offset, so the window grows as long as it is (nearly)
        full: a damaged row may be missing from it."""
        passed: set[str] = set()
        while limit <= widest:
            runs = self._store.list_due_wait_until(now_iso=now_iso, limit=limit)
            news = [run for run in runs if run.run_id not in passed]
            passed.update(run.run_id for run in news)
            yield from ((run.run_id, run.workflow_id) for run in news if not is_paused(run))
            if not news or 2 * len(runs) < limit:
                return
            limit *= _WIDER

    def _unregistered(self, run_id: str, workflow_id: str, *, patient: bool) -> None:
        key = _unregistered_key(run_id)
        if patient and self._turns.backoff.rests(key):
            return
        self._turns.backoff.failed(key)
        error = UnknownWorkflowError(
            f"Workflow '{workflow_id}' is not registered. Register it before starting the scheduler."
        )
        self._report.failed(run_id, error)

    def left(self) -> Iterator[Turn]:
        """Runs that this scheduler left RUNNING: they used up their steps, or raised and have rested."""
        for run_id, left in self._turns.left().items():
            workflow = self._registry.get(left.workflow_id)
            if workflow is None or self._is_busy(run_id) or self._turns.backoff.rests(run_id):
                continue
            yield Turn(run_id, workflow, left.next_turn, left.seen_at)

    def abandoned(self, now: datetime, *, after_s: float) -> Iterator[Turn]:
        """RUNNING runs that nobody has moved for ``after_s`` seconds."""
        before = now - timedelta(seconds=after_s)
        mine = self._turns.left()
        for run_id, workflow_id, updated_at in listed(self._store, RunStatus.RUNNING, _UNBOUNDED):
            workflow = self._registry.get(workflow_id)  # one of another process's workflows is its business
            if workflow is None or run_id in mine or self._is_busy(run_id):
                continue
            if _is_later(updated_at, before) or self._turns.backoff.rests(run_id):
                continue
            yield Turn(run_id, workflow, TurnKind.RECOVER, updated_at)


class Listed(NamedTuple):
    """What a listing tells of a run."""

    run_id: str
    workflow_id: str
    updated_at: str


def listed(store: QueryableRunStore, status: RunStatus, limit: int) -> Iterator[Listed]:
    """Runs of this status, most recently updated first, without reading them where the store can."""
    index = getattr(store, "list_run_index", None)
    if index is None:
        for run in store.list_runs(status=status, limit=limit):
            yield Listed(run.run_id, run.workflow_id, run.updated_at)
    else:
        for row in index(status=status, limit=limit):
            yield Listed(row["run_id"], row["workflow_id"], row["updated_at"] or "")


def _unregistered_key(run_id: str) -> str:
    """Its own rests: a run whose workflow is registered at last does not rest any more."""
    return f"unregistered:{run_id}"


def _is_later(text: str, moment: datetime) -> bool:
    try:
        return parse_time(text) > moment
    except ValueError:  # written by somebody else: no time at all, so it does not say the run is alive
        return False
