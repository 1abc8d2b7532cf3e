"""JSON text as the stores write it: one line, default separators, non-ASCII kept (`spec/02 §6.2`).

What can't be written is refused before anything is stored, so a half-encoded run never reaches a file or
a table. NaN and infinities are written as `json` does, ``NaN`` and ``Infinity``: older files and rows hold
them (`spec/02 §8.1`), and a measured value that is no number must not cost the step that measured it.
"""

from __future__ import annotations

import json
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.quick_json import quick_encode

__all__ = ["decode", "encode", "encode_part"]

encode_part = quick_encode(json.JSONEncoder(ensure_ascii=False))
"""A part of what `encode` writes, with the encoder's own errors and lone surrogates as they are."""

_encode_ascii = json.JSONEncoder(ensure_ascii=True).encode

decode = json.loads


def encode(value: Any, what: str) -> str:
    """``value`` as JSON text; ``what`` names it in errors, e.g. ``run 'r1'``.

    Lone surrogates (broken text from outside) are kept as ``\\ud83d`` escapes, because databases and files
    take valid UTF-8 only.

    Raises:
        TypeError: a value has no JSON form.
        InvalidInputError: a value that contains itself.
    """
    try:
        text = encode_part(value)
    except TypeError as exc:
        raise TypeError(
            f"{what} can't be stored as JSON: {exc}. Use dict, list, str, int, float, bool or None."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(
            f"{what} can't be stored as JSON: {exc}. A value that contains itself has no JSON form."
        ) from exc
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return str(_encode_ascii(value))
    return text
