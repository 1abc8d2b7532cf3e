"""Tool calls and tool results as they travel between handler, executor and host (`spec/04 §7.1`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

__all__ = [
    "ToolCall",
    "ToolExecutor",
    "ToolResult",
    "ability",
    "call_name",
    "json_object",
    "parsed_arguments",
    "result_of",
    "unlimited_or",
]

ToolCall = dict[str, Any]
"""``{"name", "arguments", "call_id"?, "runtime_call_id"?}``."""

ToolResult = dict[str, Any]
"""``{"call_id", "runtime_call_id", "name", "success", "output", "error"}``, see `result_of`."""


class ToolExecutor(Protocol):
    """Carries out tool calls, or says who will.

    An executor may say more about itself with attributes; what is missing is found out or left alone:

    - ``delegates`` (bool): somebody else executes the calls and resumes the run. Without it the handler asks
      with an empty list, so ``execute`` must accept one.
    - ``set_timeout_s(timeout_s)``: seconds per call from now on.
    - ``canonical_arguments(name, arguments)``: the arguments as they will be executed, and again the same for
      its own answer; the workspace policy judges those.
    - ``path_parameters(name)``: which parameters of a tool are paths; ``None`` = nobody knows.
    - ``execute_each(tool_calls=...)``: yields the results one by one, so that each is kept once it is there.
    """

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": "executed", "results": [...]}`` in the order of the calls; or, not executed,
        ``{"mode": <other>, "tool_calls": [...], "wait_key"?, "wait_reason"?, "details"?}``."""
        ...


def ability(executor: object, name: str) -> Callable[..., Any] | None:
    """A method that an executor may have beside `execute`, see `ToolExecutor`.

    Only what its class has counts: an object that answers to every name has no opinion.
    """
    method: Callable[..., Any] | None = getattr(executor, name, None)
    return method if callable(getattr(type(executor), name, None)) else None


def result_of(
    call: Mapping[str, Any], *, output: Any = None, error: str | None = None, success: bool | None = None
) -> ToolResult:
    """The result of one call; it has succeeded if there is no ``error``, unless ``success`` says so itself.

    A missing ``call_id`` becomes ``""``, a blank ``runtime_call_id`` becomes ``None``.
    """
    return {
        "call_id": _text(call.get("call_id")),
        "runtime_call_id": _text(call.get("runtime_call_id")).strip() or None,
        "name": call_name(call),
        "success": error is None if success is None else success,
        "output": output,
        "error": error,
    }


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def call_name(call: Mapping[str, Any]) -> str:
    """The tool's name, trimmed; ``""`` if there is none."""
    name = call.get("name")
    return name.strip() if isinstance(name, str) else _text(name).strip()


def parsed_arguments(arguments: Any) -> dict[str, Any]:
    """A dict as a copy, a JSON object in a string as that object; anything else is ``{}``."""
    if isinstance(arguments, str):
        return json_object(arguments) or {}
    return dict(arguments) if isinstance(arguments, dict) else {}


def json_object(text: str) -> dict[str, Any] | None:
    """The object that the text is, if it is one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or nested beyond what the parser bears
        return None
    return value if isinstance(value, dict) else None


def unlimited_or(timeout_s: Any) -> float | None:
    """Seconds, or ``None`` (unlimited) for ``None``, what is not positive, and what is no number."""
    if isinstance(timeout_s, bool) or timeout_s is None:
        return None
    try:
        seconds = float(timeout_s)
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if 0 < seconds < float("inf") else None
