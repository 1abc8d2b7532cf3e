"""Any value as JSON text (`spec/03 §16.1`). What comes out is always valid JSON."""

from __future__ import annotations

import json
from enum import Enum
from math import isfinite
from typing import Any

from abstractruntime.core.json_safe import CYCLE, MAX_DEPTH, TOO_DEEP

from .json_in_text import json_in_text

__all__ = ["JsonStringifyMode", "stringify_json"]

_DEFAULT_INDENT = 2


class JsonStringifyMode(str, Enum):
    """How JSON text is laid out."""

    NONE = "none"
    BEAUTIFY = "beautify"
    MINIFIED = "minified"


def stringify_json(
    value: object,
    *,
    mode: JsonStringifyMode | str = JsonStringifyMode.BEAUTIFY,
    beautify_indent: int = _DEFAULT_INDENT,
    sort_keys: bool = False,
    parse_strings: bool = True,
) -> str:
    """``value`` as JSON text; non-ASCII is kept.

    Keys become text, tuples arrays, objects their ``str()``; NaN and infinities become ``null``, a value
    inside itself ``"<cycle>"``, one more than 200 levels down ``"<max_depth>"``.

    Args:
        value: anything.
        mode: ``none`` (one line with spaces), ``minified`` or ``beautify``, in any case; anything else is
            ``beautify``.
        beautify_indent: spaces per level of ``beautify``; 0 means line breaks only, what is no whole number
            or negative 2.
        sort_keys: whether objects list their keys in order.
        parse_strings: whether text that is, or contains, JSON or a Python literal is shown as that value:
            ``"123"`` becomes ``123`` and text around an object is lost. Pass ``False`` for plain text.
    """
    shown = value
    if parse_strings and isinstance(value, str):
        parsed = json_in_text(value)
        shown = value if parsed is None else parsed
    layout = _mode(mode)
    return json.dumps(
        _renderable(shown, 0, set()),
        ensure_ascii=False,
        allow_nan=False,
        sort_keys=bool(sort_keys),
        indent=_indent(beautify_indent) if layout is JsonStringifyMode.BEAUTIFY else None,
        separators=(",", ":") if layout is JsonStringifyMode.MINIFIED else None,
    )


def _mode(mode: object) -> JsonStringifyMode:
    if not isinstance(mode, str):  # Python's None is not the mode "none"
        return JsonStringifyMode.BEAUTIFY
    try:
        return JsonStringifyMode(mode.strip().lower())
    except ValueError:
        return JsonStringifyMode.BEAUTIFY


def _indent(indent: object) -> int:
    if isinstance(indent, bool) or not isinstance(indent, int) or indent < 0:
        return _DEFAULT_INDENT
    return indent


def _renderable(value: object, depth: int, open_ids: set[int]) -> Any:
    """``value`` out of dicts with text keys, lists and JSON scalars.

    Not `core.json_safe`: here an object is its ``str()``, whatever conversions it offers, and non-finite
    numbers go. ``open_ids``: the containers this call is inside of.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if isfinite(value) else None
    if not isinstance(value, (dict, list, tuple)):
        return str(value)
    if depth >= MAX_DEPTH:
        return TOO_DEEP
    if id(value) in open_ids:
        return CYCLE
    open_ids.add(id(value))
    try:
        if isinstance(value, dict):
            return {_key(key): _renderable(item, depth + 1, open_ids) for key, item in value.items()}
        return [_renderable(item, depth + 1, open_ids) for item in value]
    finally:
        open_ids.discard(id(value))


def _key(key: object) -> str:
    # A member of a str enum is its value; str() would give "Color.RED".
    return str.__str__(key) if isinstance(key, str) else str(key)
