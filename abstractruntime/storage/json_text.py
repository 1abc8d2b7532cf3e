"""JSON text as the stores write it: one line, default separators, non-ASCII kept (`spec/02 §6.2`).

What can't be written is refused before anything is stored, so a half-encoded run never reaches a file or
a table.
"""

from __future__ import annotations

import json
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.quick_json import quick_encode

__all__ = ["decode", "encode", "encode_part"]

encode_part = quick_encode(json.JSONEncoder(ensure_ascii=False, allow_nan=False))
"""A part of what `encode` writes, with the encoder's own errors and lone surrogates as they are."""

_encode_ascii = json.JSONEncoder(ensure_ascii=True, allow_nan=False).encode

decode = json.loads


def encode(value: Any, what: str) -> str:
    """``value`` as JSON text; ``what`` names it in errors, e.g. ``run 'r1'``.

    Lone surrogates (broken text from outside) are kept as ``\\ud83d`` escapes, because databases and files
    take valid UTF-8 only.

    Raises:
        TypeError: a value has no JSON form.
        InvalidInputError: NaN or an infinity (JSON has neither), or a value that contains itself.
    """
    try:
        text = encode_part(value)
    except TypeError as exc:
        raise TypeError(
            f"{what} can't be stored as JSON: {exc}. Use dict, list, str, int, float, bool or None."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(
            f"{what} can't be stored as JSON: {exc}. NaN, infinities and values that contain themselves "
            "have no JSON form; use null or text instead."
        ) from exc
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return str(_encode_ascii(value))
    return text
