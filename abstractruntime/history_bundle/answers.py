"""What a run answered (`spec/01 §16.4`): in its output, else in its ledger."""

from __future__ import annotations

from typing import Any

from .ledger_reader import LedgerReader
from .ports import LedgerPort
from .values import Object, as_object, as_text, first_text

__all__ = ["Answer", "answer_in_ledger", "answer_in_output"]

Answer = tuple[str | None, dict[str, Any] | None]
"""The text and the ``meta`` object beside it."""

_IN_OUTPUT = ("response", "answer", "message", "text", "content")
_IN_RECORD = ("answer", "response", "message", "text", "content")
_IN_PAYLOAD = ("message", "text", "content")


def answer_in_output(output: object) -> Answer:
    """The answer in a run's output, or in its ``result`` or ``output`` object."""
    outer = as_object(output)
    nested = [as_object(outer.get(key)) for key in ("result", "output")]
    for holder in (outer, *nested):
        text = first_text(holder, _IN_OUTPUT)
        if text is not None:
            return text, next((meta for each in (holder, outer, *nested) if (meta := _meta(each))), None)
    return None, None


def answer_in_ledger(ledgers: LedgerPort, run_id: str) -> Answer:
    """The newest answer in the run's ledger."""
    for record in LedgerReader(ledgers, run_id).backward():
        text, meta = _answer_of(record)
        if text is not None:
            return text, meta
    return None, None


def _answer_of(record: Object) -> Answer:
    result, effect = as_object(record.get("result")), as_object(record.get("effect"))
    if record.get("status") == "completed" and effect.get("type") == "answer_user":
        text = first_text(result, ("message",)) or first_text(as_object(effect.get("payload")), _IN_PAYLOAD)
        if text is not None:
            return text, None
    output = result.get("output")
    if isinstance(output, str):
        text = as_text(output)
        return (None if text is None else text.strip()), None
    holder = as_object(output)
    for key in _IN_RECORD:
        value = holder.get(key)
        text = str(value) if isinstance(value, (int, float)) else as_text(value)  # bool is an int
        if text is not None:
            return text.strip(), _meta(holder)
    return None, None


def _meta(holder: Object) -> dict[str, Any] | None:
    meta = holder.get("meta")
    return meta if isinstance(meta, dict) else None
