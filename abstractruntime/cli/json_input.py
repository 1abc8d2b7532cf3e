"""JSON that people pass on a command line: as text, from a file (``@path``) or from stdin (``-``)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from abstractruntime.core.errors import InvalidInputError

__all__ = ["json_object", "json_value"]


def json_value(text: str, what: str) -> Any:
    """The value of a JSON argument; ``what`` names the argument in errors.

    Raises:
        InvalidInputError: the file can't be read, or it is not JSON.
    """
    source = _source(text, what)
    try:
        return json.loads(source)
    except json.JSONDecodeError as exc:
        raise InvalidInputError(
            f"{what} is not JSON: {exc.msg} at line {exc.lineno}, column {exc.colno}; "
            """expected e.g. '{"amount": 5}', @file.json, or - for stdin"""
        ) from exc


def json_object(text: str | None, what: str) -> dict[str, Any] | None:
    """The same, for arguments that must be a JSON object; ``None`` stays ``None``.

    Raises:
        InvalidInputError: as in `json_value`, or it is another kind of value.
    """
    if text is None:
        return None
    value = json_value(text, what)
    if not isinstance(value, dict):
        raise InvalidInputError(f"{what} must be a JSON object like {{...}}, not {_kind(value)}")
    return value


def _source(text: str, what: str) -> str:
    if text == "-":
        return sys.stdin.read()
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise InvalidInputError(f"{what}: can't read {text[1:]}: {exc}") from exc


def _kind(value: object) -> str:
    names = {list: "a list", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number")
