"""JSON text as the stores write it: one line, default separators, non-ASCII kept (`spec/02 §6.2`).

What can't be written is refused before anything is stored, so a half-encoded run never reaches a file or
a table.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from json.encoder import encode_basestring  # the C function where there is one
from typing import Any

from abstractruntime.core.errors import InvalidInputError

__all__ = ["decode", "encode"]


def _encoder() -> Callable[[Any], str]:
    """``json.dumps(value, ensure_ascii=False, allow_nan=False)``, a fifth quicker: both `json.dumps` and
    `JSONEncoder.encode` build the encoder in C anew on every call."""
    standard = json.JSONEncoder(ensure_ascii=False, allow_nan=False)
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return standard.encode
    parts = make(None, standard.default, encode_basestring, None, ": ", ", ", False, False, False)

    def text(value: Any) -> str:
        try:
            return "".join(parts(value, 0))
        except RecursionError:
            return standard.encode(value)  # says whether the value contains itself

    return text


_encode = _encoder()
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
        text = _encode(value)
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
