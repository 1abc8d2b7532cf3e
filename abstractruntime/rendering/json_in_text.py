"""The value that a text holds: JSON, JSON within prose or a fence, or a Python literal (`spec/03 §16.1`)."""

from __future__ import annotations

import ast
import json
import re
from itertools import islice

__all__ = ["json_in_text"]

MAX_STARTS = 64
"""Where an embedded object is looked for, at most; bounds the work on text full of braces."""

_FENCE = "```"
_OPENING = re.compile(r"[{\[]")
_JSON_LIKE = (dict, list, tuple, str, bool, int, float)
# What the parsers raise for text they can't read; a too long number is a ValueError, too deep nesting a
# RecursionError, or a MemoryError of Python's own parser.
_UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)


def json_in_text(text: str) -> object:
    """The value in ``text``, or ``None`` when there is none (or it is null). Never evaluates code."""
    bare = _without_fence(text.strip())
    if not bare:
        return None
    for read in (_whole, _embedded, _literal):
        value = read(bare)
        if value is not None:
            return value
    return None


def _without_fence(text: str) -> str:
    if not text.startswith(_FENCE):
        return text
    lines = text.splitlines()
    if len(lines) == 1:
        return text.strip("`").strip()
    body = lines[1:-1] if lines[-1].strip().startswith(_FENCE) else lines[1:]
    return "\n".join(body).strip()


def _whole(text: str) -> object:
    try:
        value: object = json.loads(text)
    except _UNREADABLE:
        return None
    return value


def _embedded(text: str) -> object:
    """The first object or array that can be read; what is around it is ignored."""
    decoder = json.JSONDecoder()
    for match in islice(_OPENING.finditer(text), MAX_STARTS):
        try:
            value: object = decoder.raw_decode(text, match.start())[0]
        except _UNREADABLE:
            continue
        return value
    return None


def _literal(text: str) -> object:
    try:
        value: object = ast.literal_eval(text)
    except _UNREADABLE:
        return None
    # "..." is a Python literal too, but not one that anybody meant.
    return value if isinstance(value, _JSON_LIKE) else None
