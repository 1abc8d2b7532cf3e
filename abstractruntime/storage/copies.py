"""Independent copies of states and records, as cheap as JSON-like data allows."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

from abstractruntime.core.models import RunState

__all__ = ["copy_run", "copy_value"]

_IMMUTABLE = frozenset({str, int, float, bool, type(None)})


def copy_value(value: Any) -> Any:
    """A deep copy that keeps Python types (tuples, integer keys) where JSON would change them."""
    kind = type(value)
    if kind in _IMMUTABLE:
        return value
    if kind is dict:
        return {key: copy_value(item) for key, item in value.items()}
    if kind is list:
        return [copy_value(item) for item in value]
    return deepcopy(value)


def copy_run(run: RunState) -> RunState:
    """The run and nothing shared with it."""
    waiting = run.waiting
    if waiting is not None:
        waiting = replace(waiting, choices=copy_value(waiting.choices), details=copy_value(waiting.details))
    return replace(run, vars=copy_value(run.vars), output=copy_value(run.output), waiting=waiting)
