"""JSON text as the stores write it: one line, default separators, non-ASCII kept (`spec/02 §6.2`).

What can't be written is refused before anything is stored, so a half-encoded run never reaches a file or
a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.core.quick_json import quick_encode, quick_encode_fields

__all__ = ["decode", "encode", "encode_stored"]

_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
_encode = quick_encode(_encoder)
_encode_stored = quick_encode_fields(
    _encoder, [field.name for kind in (RunState, StepRecord) for field in fields(kind)]
)
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
    return _encoded(value, what, _encode)


def encode_stored(value: dict[str, Any], what: str) -> str:
    """`encode` of the stored form of a run or a ledger record: the same text, in less time."""
    return _encoded(value, what, _encode_stored)


def _encoded(value: Any, what: str, to_text: Callable[[Any], str]) -> str:
    try:
        text = to_text(value)
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
