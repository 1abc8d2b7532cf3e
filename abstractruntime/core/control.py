"""What people do to a run from outside: cancel, pause, unpause, retry, change limits (`spec/01 §9.4`, §9.5).

Each function gives the transition, or ``None`` when there is nothing to do. In a fleet they are
compare-and-swap commits on the same row as the steps, so neither overwrites the other (`DESIGN §3`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from . import records
from .environment import Environment
from .errors import InvalidInputError
from .limits import apply_limit_updates
from .models import RunState, RunStatus, WaitReason, WaitState
from .step_stamp import is_same_step, keep_step
from .times import to_iso
from .transition import Transition, changed

__all__ = [
    "backed_off",
    "cancelled",
    "goes_on",
    "hold",
    "is_backing_off",
    "is_controlled",
    "is_paused",
    "is_synthetic_pause",
    "limits_updated",
    "paused",
    "retried",
    "try_again",
    "unpaused",
]


_BACKOFF = "retry_backoff"


def _control_flags(run: RunState) -> dict[str, Any]:
    """``_runtime.control`` of the run, created if missing."""
    runtime = run.vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = run.vars["_runtime"] = {}
    flags = runtime.get("control")
    if not isinstance(flags, dict):
        flags = runtime["control"] = {}
    return flags


def is_controlled(run: RunState) -> bool:
    """Whether a person stopped the run: cancelled or paused (`spec/01 §14`)."""
    return run.status is RunStatus.CANCELLED or is_paused(run)


def is_paused(run: RunState) -> bool:
    """Whether somebody has paused the run (exactly ``True``, `spec/01 §9.2`)."""
    runtime = run.vars.get("_runtime")
    flags = runtime.get("control") if isinstance(runtime, dict) else None
    return isinstance(flags, dict) and flags.get("paused") is True


def goes_on(before: RunState, stored: RunState) -> bool:
    """Whether a step that began at ``before`` may still be written: nobody has taken it, and nobody has
    paused the run, also not by the flag alone (`spec/01 §14`)."""
    return is_same_step(before, stored) and not is_paused(stored)


def is_synthetic_pause(run: RunState) -> bool:
    """Whether the run's wait is the one `paused` made for a running run."""
    wait = run.waiting
    if wait is None or wait.reason is not WaitReason.USER:
        return False
    return wait.wait_key == f"pause:{run.run_id}" or (wait.details or {}).get("kind") == "pause"


def cancelled(run: RunState, env: Environment, *, reason: str | None = None) -> Transition | None:
    """The run ends CANCELLED with ``reason`` as its error; a terminal run stays as it is."""
    if run.is_terminal:
        return None
    if is_paused(run):
        _control_flags(run).pop("paused", None)
    new = changed(run, env, status=RunStatus.CANCELLED, error=reason or "Cancelled", waiting=None)
    return Transition(new, closing=[records.status_event(new, env)])


def paused(
    run: RunState, env: Environment, *, reason: str | None = None, recorded: bool = False
) -> Transition | None:
    """Nothing more happens to the run until `unpaused`; a run that asks a person keeps asking.

    ``recorded``: with a ledger record, which the contract does not have (`spec/01 §10.12`, §19.16).
    """
    if run.is_terminal or is_paused(run):
        return None
    wait = run.waiting
    if run.status is RunStatus.WAITING and wait is not None and wait.reason is WaitReason.USER:
        return None
    flags = _control_flags(run)
    flags["paused"] = True
    flags["paused_at"] = env.now_iso()
    if reason and reason.strip():
        flags["pause_reason"] = reason.strip()
    why = {"reason": flags.get("pause_reason")}
    record = [records.control(run, "pause", why, env)] if recorded else []
    new = hold(run, env) if run.status is RunStatus.RUNNING else changed(run, env)
    return Transition(keep_step(run, new), records=record)


def hold(run: RunState, env: Environment) -> RunState:
    """A RUNNING run parked in the synthetic pause wait."""
    wait = WaitState(
        reason=WaitReason.USER,
        wait_key=f"pause:{run.run_id}",
        resume_to_node=run.current_node,
        prompt="Paused",
        allow_free_text=False,
        details={"kind": "pause"},
    )
    return changed(run, env, status=RunStatus.WAITING, waiting=wait)


def unpaused(run: RunState, env: Environment, *, recorded: bool = False) -> Transition | None:
    """Undo `paused`; a real wait goes on waiting, a running run runs again. ``recorded``: as there."""
    if run.is_terminal or not is_paused(run):
        return None
    flags = _control_flags(run)
    flags.pop("paused", None)
    flags.pop("pause_reason", None)
    flags["resumed_at"] = env.now_iso()
    record = [records.control(run, "unpause", {}, env)] if recorded else []
    if is_synthetic_pause(run) and run.waiting is not None:
        node = run.waiting.resume_to_node or run.current_node
        new = changed(run, env, status=RunStatus.RUNNING, waiting=None, current_node=node)
    else:
        new = changed(run, env)
    return Transition(keep_step(run, new), records=record)


def backed_off(run: RunState, attempt: int, seconds: float, env: Environment) -> Transition:
    """Between two attempts of an effect the run waits durably instead of its driver (`spec/01 §19.13`).

    No ledger record: the failed attempt is the last word, and the next attempt counts on from it.
    """
    wait = WaitState(
        reason=WaitReason.UNTIL,
        until=to_iso(env.now() + timedelta(seconds=seconds)),
        resume_to_node=run.current_node,
        details={"kind": _BACKOFF, "attempt": attempt},
    )
    return Transition(keep_step(run, changed(run, env, status=RunStatus.WAITING, waiting=wait)))


def is_backing_off(run: RunState) -> bool:
    """Whether the run's wait is one `backed_off` made."""
    wait = run.waiting
    return wait is not None and (wait.details or {}).get("kind") == _BACKOFF


def try_again(run: RunState, env: Environment) -> Transition:
    """The back-off is over, or somebody cut it short: the node runs again, for the next attempt."""
    return Transition(keep_step(run, changed(run, env, status=RunStatus.RUNNING, waiting=None)))


def retried(run: RunState, env: Environment) -> Transition:
    """A FAILED run goes on from the step that failed.

    Raises:
        InvalidInputError: the run has not failed.
    """
    if run.status is not RunStatus.FAILED:
        raise InvalidInputError(f"Run '{run.run_id}' is {run.status.value}; only a failed run can be retried")
    record = records.control(run, "retry", {"error": run.error}, env)
    new = changed(run, env, status=RunStatus.RUNNING, error=None, waiting=None, output=None)
    return Transition(new, records=[record])


def limits_updated(
    run: RunState, updates: dict[str, Any], env: Environment, *, recorded: bool = False
) -> Transition:
    """New values for known keys of ``_limits``; unknown keys are ignored (`spec/01 §9.9`).

    ``recorded``: with a ledger record, which the contract does not have (`spec/01 §10.12`, §19.16).
    """
    apply_limit_updates(run.vars, updates)
    record = [records.control(run, "limits", {"updates": updates}, env)] if recorded else []
    return Transition(keep_step(run, changed(run, env)), records=record)
