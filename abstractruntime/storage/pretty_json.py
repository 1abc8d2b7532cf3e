"""JSON text indented by two blanks, for files that people read (`spec/02 §5.1`).

`json.dumps(indent=2)` runs in Python and walks through generators; a run is written at each of its steps, so
the same text is put together here in less than half the time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring  # the C function where there is one
from math import isfinite
from typing import Any

from abstractruntime.core.quick_json import quick_encode

__all__ = ["indented", "pretty"]

_standard = json.JSONEncoder(ensure_ascii=False, indent=2).encode


def pretty(value: Any) -> str:
    """What ``json.dumps(value, ensure_ascii=False, indent=2)`` gives.

    Raises:
        TypeError: a value has no JSON form.
        ValueError, RecursionError: a value inside itself.
    """
    try:
        return _text(value, "\n")
    except (_NotPlainError, RecursionError):
        return _standard(value)


def indented(value: Any) -> str:
    """`pretty` of a value inside an object: its further lines begin two blanks deeper.

    Raises:
        TypeError, ValueError, RecursionError: as `pretty`.
    """
    try:
        return _text(value, "\n  ")
    except (_NotPlainError, RecursionError):
        return _standard(value).replace("\n", "\n  ")  # in a text a line break is an escape


class _NotPlainError(Exception):
    """Something else than text, finite numbers, true, false, null, lists and dicts with text keys."""


def _text(value: Any, newline: str) -> str:
    kind = type(value)
    if kind is str:
        return encode_basestring(value)
    if value is None:
        return "null"
    if kind is int:
        return int.__repr__(value)
    if kind is bool:
        return "true" if value else "false"
    if kind is dict:
        return _object(value, newline)
    if kind is list:
        if not value:
            return "[]"
        inner = newline + "  "
        return f"[{inner}{f',{inner}'.join([_text(item, inner) for item in value])}{newline}]"
    if kind is float and isfinite(value):
        return float.__repr__(value)
    raise _NotPlainError


def _object(value: dict[Any, Any], newline: str) -> str:
    if not value:
        return "{}"
    inner = newline + "  "
    if _are_scalars(map(type, value.values())):
        return f"{{{inner}{_flat(inner)(value)[1:-1]}{newline}}}"
    entries = []
    for key, item in value.items():
        if type(key) is not str:
            raise _NotPlainError
        entries.append(f"{encode_basestring(key)}: {_text(item, inner)}")
    return f"{{{inner}{f',{inner}'.join(entries)}{newline}}}"


_are_scalars = frozenset({str, int, bool, float, type(None)}).issuperset


@lru_cache(maxsize=32)  # by depth
def _flat(inner: str) -> Callable[[Any], str]:
    """Encodes an object of scalars on lines that begin with ``inner``: the C encoder knows no lines, but
    takes them for what separates items."""
    separators = f",{inner}", ": "
    return quick_encode(json.JSONEncoder(ensure_ascii=False, separators=separators))
