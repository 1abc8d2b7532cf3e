"""Which step a checkpoint stands before: the same before and after somebody pauses it or changes a limit.

``updated_at`` grows with every write of a run, so it names the step that comes next. A control command
writes too, but does not move the run; it keeps the name of the step in ``_runtime.held_step``. With it a
step that was under way meanwhile knows whether its outcome still belongs, and a child it started is found
again instead of started twice (`spec/01 §14`, `spec/02 §15 D-4a`).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from .models import RunState, RunStatus
from .times import parse_time, to_iso

__all__ = ["is_same_step", "keep_step", "marks_of_others", "next_after", "step_stamp"]

_HELD = "held_step"
_TICK = timedelta(microseconds=1)


def next_after(previous: str, now: str) -> str:
    """The microsecond after ``previous``, where the clock says ``now`` and has not moved on since."""
    try:
        return max(now, to_iso(parse_time(previous) + _TICK))
    except ValueError:  # stored by somebody else: no time at all
        return now


def step_stamp(run: RunState) -> str:
    """Names the step the run stands before."""
    held = _runtime(run).get(_HELD)
    if isinstance(held, dict) and held.get("at") == run.updated_at:
        return str(held.get("step"))
    return run.updated_at


def keep_step(before: RunState, after: RunState) -> RunState:
    """``after`` differs from ``before`` by a control command and stands before the same step."""
    if before.status is RunStatus.RUNNING or _HELD in _runtime(before):
        runtime = _runtime(before)
        after.vars["_runtime"] = {**runtime, _HELD: {"step": step_stamp(before), "at": after.updated_at}}
    return after


def is_same_step(before: RunState, stored: RunState) -> bool:
    """Whether nobody has taken the step that ``before`` stands before."""
    return (
        stored.status is before.status
        and stored.current_node == before.current_node
        and step_stamp(stored) == step_stamp(before)
    )


def marks_of_others(runtime: dict[str, Any]) -> dict[str, Any]:
    """What of a stored ``_runtime`` others than the run's own steps write, so that a step which began before
    must take it over: pause and cancel, and the reference of the workflow's snapshot (`spec/01 §16.2`)."""
    return {name: runtime[name] for name in ("control", "workflow_snapshot") if name in runtime}


def _runtime(run: RunState) -> dict[str, Any]:
    runtime = run.vars.get("_runtime")
    return runtime if isinstance(runtime, dict) else {}
