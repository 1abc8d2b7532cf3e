"""Making a run one's own before driving it, so that of several schedulers exactly one drives it
(`spec/02 §15 S-1`).

A claim is a compare-and-set under the kernel's write of the run: among the threads of this process by the
run's lock, among processes by the store's transaction where it has one (``atomic``).
"""

from __future__ import annotations

from abstractruntime.core.control import is_controlled
from abstractruntime.core.environment import Environment
from abstractruntime.core.models import RunStatus
from abstractruntime.core.persistence import Persistence, Seen
from abstractruntime.core.resume import due_time, woken
from abstractruntime.core.step_stamp import keep_step
from abstractruntime.core.transition import Transition, changed

__all__ = ["claim_due", "claim_running"]


def claim_due(stores: Persistence, env: Environment, run_id: str) -> bool:
    """Wake a run whose time has come; False if somebody else did, or it does not wait for that any more."""
    with stores.writing(run_id):
        seen = stores.see(run_id)
        due = due_time(seen.run)
        if due is None or due > env.now() or is_controlled(seen.run):
            return False
        return _commit(stores, seen, woken(seen.run, env), object())


def claim_running(stores: Persistence, env: Environment, run_id: str, seen_at: str | None) -> bool:
    """Take over a RUNNING run that nobody of this process drives and that has not moved.

    Args:
        seen_at: the run's ``updated_at`` when it was found; ``None`` takes any.
    """
    claimant = object()
    with stores.writing(run_id):
        seen = stores.see(run_id)
        run = seen.run
        if run.status is not RunStatus.RUNNING or is_controlled(run):
            return False
        if seen_at is not None and run.updated_at != seen_at:
            return False
        if not stores.locks.take(run_id, claimant):
            return False
        try:
            # The run still stands before the same step, under a new mark: the others find it moved.
            return _commit(stores, seen, Transition(keep_step(run, changed(run, env))), claimant)
        finally:
            stores.locks.give_back(run_id, claimant)


def _commit(stores: Persistence, seen: Seen, made: Transition, claimant: object) -> bool:
    """Whether it is ``made`` that is stored now: a ledger subscriber may have written the run meanwhile."""
    return stores.commit(seen, made, claimant).run is made.run
