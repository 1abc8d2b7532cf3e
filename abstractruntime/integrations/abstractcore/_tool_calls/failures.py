"""Failures that tools declare in what they return (`spec/04 §7.2`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..json_values import json_value
from .shapes import ToolResult, result_of

__all__ = ["failure_text", "judged", "timed_out"]

_MARKS = ("❌", "🚫", "⏰")
_WORD = "Error:"


def judged(call: Mapping[str, Any], value: Any) -> ToolResult:
    """The result of a call that returned ``value``.

    An object with ``success`` or ``ok`` false has failed and stays as output; so has a text that begins as
    `failure_text` says, and its output is ``None``.
    """
    output = json_value(value)
    if isinstance(output, dict) and (output.get("success") is False or output.get("ok") is False):
        why = output.get("error") or output.get("message") or "Tool reported failure"
        return result_of(call, output=output, error=str(why), success=False)
    error = failure_text(output) if isinstance(output, str) else None
    return result_of(call, output=None if error is not None else output, error=error)


def failure_text(text: str) -> str | None:
    """What a text says about a failure: the rest after ``Error:`` or one of the marks, the whole text if
    there is no rest; ``None`` if it begins with neither."""
    trimmed = text.strip()
    if trimmed.startswith(_MARKS):
        rest = trimmed.lstrip("".join(_MARKS)).lstrip("\ufe0f ")  # an emoji may carry a variation selector
    elif trimmed.startswith(_WORD):
        rest = trimmed
    else:
        return None
    return rest.removeprefix(_WORD).strip() or trimmed


def timed_out(call: Mapping[str, Any], timeout_s: float | None) -> ToolResult:
    """The result of a call that was over its time; its tool may still run, hence ``timed_out``."""
    error = f"Tool execution timed out after {timeout_s}s"
    return {**result_of(call, error=error), "timed_out": True}
