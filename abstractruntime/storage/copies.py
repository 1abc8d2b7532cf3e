"""Independent copies of states and records, as cheap as JSON-like data allows."""

from __future__ import annotations

from math import isfinite
from typing import Any

from abstractruntime.core.copies import copied
from abstractruntime.core.derived import without_derived
from abstractruntime.core.models import RunState, WaitState

from .json_text import encode

__all__ = ["copy_run", "storable_run", "storable_value"]


def copy_run(run: RunState) -> RunState:
    """The run and nothing shared with it."""
    return _with(run, copied(run.vars), copied(run.output), _copy_wait(run.waiting, copied))


def storable_value(value: Any, what: str) -> Any:
    """`copied` of what the durable stores would take; ``what`` names it in errors.

    Raises:
        TypeError, InvalidInputError: it holds something that has no JSON form.
    """
    try:
        return _copy_plain(value)
    except (_NotPlainError, RecursionError):
        encode(value, what)
        return copied(value)


def storable_run(run: RunState) -> RunState:
    """`copy_run` of what the durable stores would take, without computed views.

    Raises:
        TypeError, InvalidInputError: it holds something that has no JSON form.
    """
    what = f"run '{run.run_id}'"
    vars, output = without_derived(run.vars), run.output
    wait = _copy_wait(run.waiting, lambda value: storable_value(value, what))
    return _with(run, storable_value(vars, what), storable_value(output, what), wait)


class _NotPlainError(Exception):
    """A value that needs a closer look: no dict, list, text, finite number, bool or None."""


def _copy_plain(value: Any) -> Any:
    """Checks and copies in one pass, which costs less than encoding for the check alone."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool:
        return value
    if kind is dict:
        copied = {}
        for key, item in value.items():
            if type(key) is not str:
                raise _NotPlainError
            copied[key] = item if type(item) is str else _copy_plain(item)
        return copied
    if kind is list:
        return [_copy_plain(item) for item in value]
    if kind is float and isfinite(value):
        return value
    raise _NotPlainError


def _copy_wait(waiting: WaitState | None, copy_part: Any) -> WaitState | None:
    if waiting is None:
        return None
    copied = object.__new__(WaitState)
    copied.__dict__ = {**waiting.__dict__}
    copied.choices, copied.details = copy_part(waiting.choices), copy_part(waiting.details)
    return copied


def _with(run: RunState, vars: dict[str, Any], output: Any, waiting: WaitState | None) -> RunState:
    copied = object.__new__(RunState)
    copied.__dict__ = {**run.__dict__, "vars": vars, "output": output, "waiting": waiting}
    return copied
