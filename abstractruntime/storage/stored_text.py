"""The stored form of runs and ledger records as text (`spec/02 §3.1`, §3.2).

A step writes three of them. Nearly all their fields are text or ``None``, so the text is put together here,
in half the time that a dict of the fields and the encoder take. Whatever is not as usual goes that way.
"""

from __future__ import annotations

from collections.abc import Callable
from json.encoder import encode_basestring as _quoted  # the C function where there is one
from typing import NamedTuple

from abstractruntime.core.derived import without_derived
from abstractruntime.core.models import RunState, StepRecord

from .json_text import encode, encode_part
from .pretty_json import indented, pretty

__all__ = ["record_text", "state_lines", "state_text"]


def record_text(record: StepRecord) -> str:
    """The record, as ``encode(record.to_dict())`` has it.

    Raises:
        TypeError, InvalidInputError: it holds something that has no JSON form.
    """
    if type(record) is StepRecord and type(record.attempt) is int:
        try:
            return _record_text(record)
        except Exception:  # as in `_quick`
            pass
    return encode(record.to_dict(), f"a ledger record of run '{record.run_id}' (node '{record.node_id}')")


def state_text(run: RunState) -> str:
    """The run, as ``encode(run.to_dict())`` has it.

    Raises:
        TypeError, InvalidInputError: it holds something that has no JSON form.
    """
    return _quick(run, _ONE_LINE) or encode(run.to_dict(), f"run '{run.run_id}'")


def state_lines(run: RunState) -> str:
    """The run on indented lines, as ``pretty(run.to_dict())`` has it.

    Raises:
        TypeError, InvalidInputError: as `state_text`.
    """
    text = _quick(run, _INDENTED)
    if text is not None:
        return text
    state = run.to_dict()
    try:
        return pretty(state)
    except (TypeError, ValueError, RecursionError):
        encode(state, f"run '{run.run_id}'")  # says what is wrong, and where
        raise


class _Form(NamedTuple):
    """How an object is laid out, and how its parts are encoded."""

    start: str
    comma: str
    end: str
    part: Callable[[object], str]


_ONE_LINE = _Form("", ", ", "", encode_part)
_INDENTED = _Form("\n  ", ",\n  ", "\n", indented)


def _quick(run: RunState, form: _Form) -> str | None:
    """``None`` for what is not as usual."""
    try:
        return _state_text(run, form) if type(run) is RunState else None
    except Exception:  # not text where it should be, no UTF-8, no JSON form
        return None


def _record_text(r: StepRecord) -> str:
    return _checked(
        f'{{"run_id": {_quoted(r.run_id)}, "step_id": {_quoted(r.step_id)}, "node_id": {_quoted(r.node_id)}, '
        f'"status": "{r.status._value_}", '
        f'"effect": {"null" if r.effect is None else encode_part(r.effect)}, '
        f'"result": {"null" if r.result is None else encode_part(r.result)}, '
        f'"error": {"null" if r.error is None else _quoted(r.error)}, '
        f'"started_at": {_quoted(r.started_at)}, '
        f'"ended_at": {"null" if r.ended_at is None else _quoted(r.ended_at)}, '
        f'"actor_id": {"null" if r.actor_id is None else _quoted(r.actor_id)}, '
        f'"session_id": {"null" if r.session_id is None else _quoted(r.session_id)}, '
        f'"attempt": {r.attempt}, '
        f'"idempotency_key": {"null" if r.idempotency_key is None else _quoted(r.idempotency_key)}, '
        f'"prev_hash": {"null" if r.prev_hash is None else _quoted(r.prev_hash)}, '
        f'"record_hash": {"null" if r.record_hash is None else _quoted(r.record_hash)}, '
        f'"signature": {"null" if r.signature is None else _quoted(r.signature)}}}'
    )


def _state_text(run: RunState, form: _Form) -> str:
    part, comma = form.part, form.comma
    return _checked(
        f'{{{form.start}"run_id": {_quoted(run.run_id)}{comma}'
        f'"workflow_id": {_quoted(run.workflow_id)}{comma}'
        f'"status": "{run.status._value_}"{comma}"current_node": {_quoted(run.current_node)}{comma}'
        f'"vars": {part(without_derived(run.vars))}{comma}'
        f'"waiting": {"null" if run.waiting is None else part(run.waiting.to_dict())}{comma}'
        f'"output": {"null" if run.output is None else part(run.output)}{comma}'
        f'"error": {"null" if run.error is None else _quoted(run.error)}{comma}'
        f'"created_at": {_quoted(run.created_at)}{comma}"updated_at": {_quoted(run.updated_at)}{comma}'
        f'"actor_id": {"null" if run.actor_id is None else _quoted(run.actor_id)}{comma}'
        f'"session_id": {"null" if run.session_id is None else _quoted(run.session_id)}{comma}'
        f'"parent_run_id": {"null" if run.parent_run_id is None else _quoted(run.parent_run_id)}{form.end}}}'
    )


def _checked(text: str) -> str:
    if not text.isascii():
        text.encode()  # refuses lone surrogates
    return text
