"""What people do to runs of a fleet: compare-and-swap loops around the kernel's control functions.

Locks are taken in one order by everybody, so that two of them never wait for each other: wait keys, then
rows, and of the rows children before their parents (a child that ends holds its own row when it reaches for
its parent's).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from abstractruntime.core import control, resume
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import ConcurrentUpdateError, UnknownRunError
from abstractruntime.core.evidence import is_tool_wait
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.traces import derive_traces
from abstractruntime.core.transition import Transition
from abstractruntime.storage.checkpoints import Checkpoint, RunFilter

from .clock import StepClock
from .commits import Batch, Commits, LostRace
from .evidence import Evidence
from .validation import check_waiting

__all__ = ["Control", "persistently"]

MAX_TRIES = 60
MAX_PAUSE_S = 0.05
_ALL = 2**31 - 1
T = TypeVar("T")

Change = Callable[[RunState, Environment], Transition | None]


def persistently(what: str, attempt: Callable[[], T]) -> T:
    """Repeat ``attempt`` while others move the same rows.

    Raises:
        ConcurrentUpdateError: they never stopped; nothing was written.
    """
    last: Exception | None = None
    for n in range(MAX_TRIES):
        try:
            return attempt()
        except (LostRace, ConcurrentUpdateError) as exc:
            last = exc
            time.sleep(random.uniform(0.0, min(MAX_PAUSE_S, 0.001 * 2.0**n)))
    raise ConcurrentUpdateError(
        f"{what}: others changed it {MAX_TRIES} times meanwhile; nothing was written, try again"
    ) from last


class Control:
    """Control verbs over one deployment's commits. Each gives the run as it is stored afterwards."""

    def __init__(self, commits: Commits, evidence: Callable[[], Evidence] | None = None) -> None:
        """``evidence``: asked for when a run is resumed that waits for tools; ``None`` keeps none."""
        self._commits = commits
        self._evidence = evidence
        self._store = commits.store

    def resume(self, run_id: str, payload: Any, check: Callable[[RunState], None]) -> RunState:
        """Give a waiting run what it waits for; ``check`` raises if it may not have it."""

        return persistently(f"Run '{run_id}'", lambda: self._resume(run_id, payload, check))

    def _resume(self, run_id: str, payload: Any, check: Callable[[RunState], None]) -> RunState:
        seen = self._seen(run_id)
        check(seen.run)
        given = deepcopy(payload)
        kept: RunState | None = None
        if self._evidence is not None and seen.run.waiting is not None and is_tool_wait(seen.run.waiting):
            # Before the transaction: the artifact store may write to the same database.
            kept = seen.run
            given = self._evidence().of_payload(kept, given, StepClock(seen.now).environment())

        def change(before: Checkpoint, env: Environment) -> Transition:
            check(before.run)
            if kept is not None and before.version != seen.version:
                raise LostRace
            return resume.resumed(kept or before.run, given, env)

        return self._change_seen(seen, change)

    def pause(self, run_id: str, reason: str | None) -> RunState:
        """Nothing more happens to the run; an effect in flight ends and its outcome is kept."""
        return self._change(run_id, lambda run, env: control.paused(run, env, reason=reason, recorded=True))

    def unpause(self, run_id: str) -> RunState:
        """Undo `pause`; an event or a child's end that came meanwhile is met at once."""
        return persistently(f"Unpausing run '{run_id}'", lambda: self._unpause(run_id))

    def retry(self, run_id: str) -> RunState:
        """A FAILED run goes on from the step that failed."""
        return self._change(run_id, control.retried)

    def update_limits(self, run_id: str, updates: dict[str, Any]) -> RunState:
        """Set known limits of the run; unknown names are ignored."""
        return self._change(run_id, lambda run, env: control.limits_updated(run, updates, env))

    def cancel(self, run_id: str, reason: str | None) -> list[RunState]:
        """End the run and all that runs below it, in one transaction; root first."""
        return persistently(f"Cancelling run '{run_id}'", lambda: self._cancel(run_id, reason))

    # -- one run --------------------------------------------------------------------------------

    def _change(self, run_id: str, change: Change) -> RunState:
        return persistently(f"Run '{run_id}'", lambda: self._change_once(run_id, change))

    def _change_once(self, run_id: str, change: Change) -> RunState:
        return self._change_seen(self._seen(run_id), lambda before, env: change(before.run, env))

    def _change_seen(
        self, seen: Checkpoint, change: Callable[[Checkpoint, Environment], Transition | None]
    ) -> RunState:
        with self._commits.batch() as batch:
            before = _locked(batch, seen)
            made = change(before, batch.env)
            if made is None:
                return before.run
            return self._commits.write_control(batch, before, made).run

    def _seen(self, run_id: str) -> Checkpoint:
        seen = self._store.load(run_id)
        if seen is None:
            raise UnknownRunError(run_id)
        return seen

    def _unpause(self, run_id: str) -> RunState:
        seen = self._seen(run_id)
        with self._commits.batch() as batch:
            child = _awaited_child(seen.run)
            ended = None
            if child is not None:
                # Locked: its end comes either before, and is seen here, or after, and sees us unpaused.
                ended = batch.unit.load(child)
            before = _locked(batch, seen)
            if _awaited_child(before.run) != child:
                raise LostRace
            made = control.unpaused(before.run, batch.env, recorded=True)
            if made is None:
                return before.run
            if ended is not None and ended.run.is_terminal:
                made = self._met_child(batch, made, ended.run)
            return self._commits.write_control(batch, before, made).run

    def _met_child(self, batch: Batch, made: Transition, child: RunState) -> Transition:
        traces = None
        wait = made.run.waiting
        if wait is not None and (wait.details or {}).get("include_traces"):
            traces = derive_traces([entry.record for entry in self._store.ledger(child.run_id)])
        went_on = resume.child_ended(made.run, child, batch.env, traces=traces)
        if went_on is None:
            return made
        return Transition(went_on.run, [*made.records, *went_on.records], went_on.closing)

    # -- a tree ---------------------------------------------------------------------------------

    def _cancel(self, root: str, reason: str | None) -> list[RunState]:
        tree = self._tree(root)
        with self._commits.batch() as batch:
            locked: dict[str, Checkpoint] = {}
            for run_id in reversed(tree):
                checkpoint = batch.unit.load(run_id)
                if checkpoint is None:
                    raise UnknownRunError(run_id)
                locked[run_id] = checkpoint
            for run_id, checkpoint in locked.items():
                # Who ran on until its row was locked may have started a child that is not in the tree.
                if not checkpoint.run.is_terminal and not locked.keys() >= {
                    *batch.unit.open_children(run_id)
                }:
                    raise LostRace
            return self._cancel_locked(batch, [locked[run_id] for run_id in tree], reason)

    def _cancel_locked(self, batch: Batch, tree: list[Checkpoint], reason: str | None) -> list[RunState]:
        """Parents first: a child's end then finds no parent that waits for it."""
        cancelled = []
        for before in tree:
            made = control.cancelled(before.run, batch.env, reason=reason)
            run = before.run if made is None else self._commits.write_control(batch, before, made).run
            if run.status is RunStatus.CANCELLED and (made is not None or before is tree[0]):
                cancelled.append(run)
        return cancelled

    def _tree(self, root: str) -> list[str]:
        """The run and everything open below it, breadth first; also what is below ended children."""
        self._seen(root)
        found, frontier, open_runs = {root}, [root], [root]
        while frontier:
            below: list[str] = []
            for run_id in frontier:
                for child in self._store.find_runs(RunFilter(parent_run_id=run_id), limit=_ALL):
                    if child.run_id in found:
                        continue
                    found.add(child.run_id)
                    below.append(child.run_id)
                    if child.status in (RunStatus.RUNNING, RunStatus.WAITING):
                        open_runs.append(child.run_id)
            frontier = below
        return open_runs


def _locked(batch: Batch, seen: Checkpoint) -> Checkpoint:
    """The run, locked; before it the keys it waits for, in the order that `Commits.emit` takes them."""
    keys = _event_keys(seen.run)
    batch.unit.lock_keys(keys)
    before = batch.unit.load(seen.run.run_id)
    if before is None:
        raise UnknownRunError(seen.run.run_id)
    if _event_keys(before.run) != keys:
        raise LostRace
    return before


def _event_keys(run: RunState) -> list[str]:
    wait = run.waiting
    if run.status is not RunStatus.WAITING or wait is None or wait.reason is not WaitReason.EVENT:
        return []
    return resume.wait_keys(wait)


def _awaited_child(run: RunState) -> str | None:
    wait = run.waiting
    if run.status is not RunStatus.WAITING or wait is None or wait.reason is not WaitReason.SUBWORKFLOW:
        return None
    return (wait.wait_key or "").removeprefix("subworkflow:") or None


def check_key(wait_key: str | None) -> Callable[[RunState], None]:
    """A check for `Control.resume`."""
    return lambda run: check_waiting(run, wait_key)
