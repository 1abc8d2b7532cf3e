"""Making a run one's own before driving it, so that of several schedulers exactly one drives it
(`spec/02 §15 S-1`).

A claim is a write of the run by whoever has its driving lease: nobody else drives it meanwhile, in this
process or (where the store has leases among processes) in another, and what is stored is looked at under it.
"""

from __future__ import annotations

from collections.abc import Callable

from abstractruntime.core.control import is_controlled
from abstractruntime.core.environment import Environment
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.persistence import Persistence
from abstractruntime.core.resume import due_time, woken
from abstractruntime.core.step_stamp import keep_step
from abstractruntime.core.store_ports import Seen
from abstractruntime.core.transition import Transition, changed

__all__ = ["claim_due", "claim_running"]


def claim_due(stores: Persistence, env: Environment, run_id: str) -> bool:
    """Wake a run whose time has come; False if somebody else did, or it does not wait for that any more."""

    def wake(run: RunState) -> Transition | None:
        due = due_time(run)
        return None if due is None or due > env.now() or is_controlled(run) else woken(run, env)

    return _claim(stores, run_id, wake)


def claim_running(stores: Persistence, env: Environment, run_id: str, seen_at: str | None) -> bool:
    """Take over a RUNNING run that nobody drives and that has not moved.

    Args:
        seen_at: the run's ``updated_at`` when it was found; ``None`` takes any.
    """

    def mark(run: RunState) -> Transition | None:
        if run.status is not RunStatus.RUNNING or is_controlled(run):
            return None
        if seen_at is not None and run.updated_at != seen_at:
            return None
        # The run still stands before the same step, under a new mark: the others find it moved.
        return Transition(keep_step(run, changed(run, env)))

    return _claim(stores, run_id, mark)


def _claim(stores: Persistence, run_id: str, change: Callable[[RunState], Transition | None]) -> bool:
    claimant = object()
    with stores.writing(run_id):
        if not stores.locks.take(run_id, claimant):
            return False
        try:
            seen = stores.see(run_id)
            made = change(seen.run)
            return made is not None and _commit(stores, seen, made, claimant)
        finally:
            stores.locks.give_back(run_id, claimant)


def _commit(stores: Persistence, seen: Seen, made: Transition, claimant: object) -> bool:
    """Whether it is ``made`` that is stored now: a ledger subscriber may have written the run meanwhile."""
    return stores.commit(seen, lambda: made, claimant)[1]
