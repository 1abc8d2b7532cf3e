"""Marks of events on the runs that received them (`spec/01 §19`, row 15).

An emitter that dies between two listeners runs its step again. The mark, written in the very checkpoint that
resumes a listener, tells that this listener has had the event, even when it waits for the next one already.
A run emits one event at a time, so one mark per emitter is enough.
"""

from __future__ import annotations

from uuid import NAMESPACE_URL, uuid5

from .models import RunState
from .step_stamp import step_stamp

__all__ = ["delivery_id", "has_received", "mark_received"]

_MARKS = "event_deliveries"
_MAX_EMITTERS = 100
"""Marks kept per listener, the newest: the checkpoint must not grow with the events received."""


def delivery_id(emitter: RunState, key: str) -> str:
    """The same for the same step of the emitter, however often it runs; ``key`` is its idempotency key."""
    return uuid5(NAMESPACE_URL, f"{emitter.run_id}|{step_stamp(emitter)}|{key}").hex[:16]


def has_received(listener: RunState, emitter_run_id: str, delivery: str) -> bool:
    """Whether this event has resumed the listener before."""
    runtime = listener.vars.get("_runtime")
    marks = runtime.get(_MARKS) if isinstance(runtime, dict) else None
    return isinstance(marks, dict) and marks.get(emitter_run_id) == delivery


def mark_received(listener: RunState, emitter_run_id: str, delivery: str) -> None:
    """The listener is about to be resumed by this event."""
    runtime = listener.vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = listener.vars["_runtime"] = {}
    marks = runtime.get(_MARKS)
    marks = {k: v for k, v in marks.items() if k != emitter_run_id} if isinstance(marks, dict) else {}
    kept = list(marks.items())[-(_MAX_EMITTERS - 1) :]
    runtime[_MARKS] = {**dict(kept), emitter_run_id: delivery}
