"""Independent copies of states and records, as cheap as JSON-like data allows."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any, TypeVar

from abstractruntime.core.copies import copied
from abstractruntime.core.derived import without_derived
from abstractruntime.core.making import bare
from abstractruntime.core.models import RunState, RunStatus, StepRecord, WaitState

from .json_text import encode
from .run_status import with_status_member

__all__ = ["copy_run", "storable_record", "storable_run"]

T = TypeVar("T")


def copy_run(run: RunState) -> RunState:
    """The run and nothing shared with it."""
    wait = None if run.waiting is None else _copy_wait(run.waiting, copied)
    return _with(run, copied(run.vars), _copy_output(run.output), wait)


def storable_record(record: StepRecord) -> dict[str, Any]:
    """The record's fields with copies of what the durable stores would take. As `StepRecord.to_dict`, but the
    status stays a member of its enum.

    Raises:
        TypeError, InvalidInputError: it holds something that has no JSON form.
    """
    kept = {**record.__dict__}
    effect, result = record.effect, record.result
    try:
        if effect is not None:
            kept["effect"] = _copy_plain(effect)
        if result is not None:
            kept["result"] = _copy_plain(result)
    except _NOT_PLAIN:
        name = f"a ledger record of run '{record.run_id}' (node '{record.node_id}')"
        kept["effect"], kept["result"] = _copy_other(effect, name), _copy_other(result, name)
    return kept


def storable_run(run: RunState) -> RunState:
    """`copy_run` of what the durable stores would take, without computed views.

    ``output`` alone may be anything that can be copied: the contract keeps it unconverted where a store can,
    and has its JSON form in the completion record (`spec/01 §10.14`).

    Raises:
        TypeError, InvalidInputError: another part holds something that has no JSON form, or the status is
            none.
    """
    if run.status.__class__ is not RunStatus:
        run = with_status_member(run)
    vars = without_derived(run.vars)
    try:
        vars = _copy_plain(vars)
    except _NOT_PLAIN:
        vars = _copy_other(vars, _name(run))
    wait = run.waiting
    if wait is not None:
        wait = _copy_wait(wait, lambda value: _storable(value, run))
    return _with(run, vars, None if run.output is None else _copy_output(run.output), wait)


def _storable(value: T, run: RunState) -> T:
    if value is None:
        return value
    try:
        kept: T = _copy_plain(value)
    except _NOT_PLAIN:
        return _copy_other(value, _name(run))
    return kept


def _name(run: RunState) -> str:
    return f"run '{run.run_id}'"


def _copy_other(value: T, name: str) -> T:
    """`copied` of what has a JSON form, if not a plain one; ``name`` names its owner in errors."""
    encode(value, name)
    return copied(value)


def _copy_output(output: Any) -> Any:
    try:
        return copied(output)
    except RecursionError:  # it holds itself
        return deepcopy(output)


_SCALARS = frozenset({str, int, bool, float, type(None)})


class _NotPlainError(Exception):
    """A value that needs a closer look: no dict, list, text, number, bool or None."""


_NOT_PLAIN = (_NotPlainError, RecursionError)


def _copy_plain(value: Any) -> Any:
    """Checks and copies in one pass, which costs less than encoding for the check alone."""
    kind = type(value)
    if kind is dict:
        kept = value.copy()  # at once, and then only what is not a scalar
        for key, item in value.items():
            if type(key) is not str:
                raise _NotPlainError
            if type(item) not in _SCALARS:
                kept[key] = _copy_plain(item)
        return kept
    if kind is list:
        return [item if type(item) in _SCALARS else _copy_plain(item) for item in value]
    raise _NotPlainError


def _copy_wait(waiting: WaitState, copy_part: Callable[[Any], Any]) -> WaitState:
    kept = bare(WaitState)
    kept.__dict__ = {**waiting.__dict__}
    kept.choices, kept.details = copy_part(waiting.choices), copy_part(waiting.details)
    return kept


def _with(run: RunState, vars: dict[str, Any], output: Any, waiting: WaitState | None) -> RunState:
    kept = bare(RunState)
    kept.__dict__ = {**run.__dict__, "vars": vars, "output": output, "waiting": waiting}
    return kept
