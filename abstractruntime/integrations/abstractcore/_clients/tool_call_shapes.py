"""Tool calls as providers write them, in one shape (`spec/04 §3`)."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

from .._needs_abstractcore import needs_abstractcore

__all__ = ["normalise_tool_calls", "parse_text_tool_calls"]

_JSON_WORDS = {"true": "True", "false": "False", "null": "None"}
_STRING_OR_WORD = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"|\b(?:true|false|null)\b", re.DOTALL)


def normalise_tool_calls(calls: Any) -> list[dict[str, Any]] | None:
    """``{"name", "arguments", "call_id"}`` for each call that has a name; ``None`` if none is left.

    Calls may be dicts or objects, with name and arguments at the top or inside ``function``.
    """
    if not isinstance(calls, (list, tuple)):
        return None
    found = [call for call in map(_normalise, calls) if call is not None]
    return found or None


def parse_text_tool_calls(
    content: str | None, *, model: str, allowed_tools: list[str] | None = None
) -> tuple[list[dict[str, Any]] | None, str | None]:
    """Tool calls that a model wrote into its text, found by AbstractCore.

    Deprecated: providers parse their own answers; this is for text that comes from elsewhere.

    Args:
        content: the text.
        model: selects the model's way to write calls.
        allowed_tools: calls of other tools don't count; ``None`` allows all.

    Returns:
        the calls and the text that remains (``""`` if nothing does); ``(None, None)`` without any call.
    """
    if not isinstance(content, str) or not content.strip():
        return None, None
    with needs_abstractcore():
        from abstractcore.tools.handler import UniversalToolHandler

    parsed = UniversalToolHandler(model).parse_response(content, mode="prompted")
    calls = normalise_tool_calls(list(getattr(parsed, "tool_calls", None) or []))
    if calls is not None and allowed_tools is not None:
        calls = [call for call in calls if call["name"] in allowed_tools]
    if not calls:
        return None, None
    for call in calls:
        call["call_id"] = None  # a parser's invention: text has no ids
    return calls, str(getattr(parsed, "content", None) or "")


def _normalise(call: Any) -> dict[str, Any] | None:
    function = _field(call, "function")
    name = _field(call, "name") or _field(function, "name")
    if not isinstance(name, str) or not name.strip():
        return None
    arguments = _field(call, "arguments")
    if arguments is None:
        arguments = _field(function, "arguments")
    call_id = _field(call, "call_id")
    if call_id is None or call_id == "":
        call_id = _field(call, "id")
    return {
        "name": name.strip(),
        "arguments": _arguments(arguments),
        "call_id": None if call_id is None else str(call_id),
    }


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _arguments(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return dict(value)
    return _parsed_object(value) if isinstance(value, str) else {}


def _parsed_object(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = _python_literal(text)
    return parsed if isinstance(parsed, dict) else {}


def _python_literal(text: str) -> Any:
    """A Python literal in which JSON's words may stand outside of strings."""
    words = _STRING_OR_WORD.sub(lambda found: _JSON_WORDS.get(found[0], found[0]), text)
    try:
        return ast.literal_eval(words.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
