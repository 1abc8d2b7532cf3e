"""Encoding many small values as JSON without building an encoder for each."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

__all__ = ["quick_encode"]


def quick_encode(encoder: json.JSONEncoder) -> Callable[[Any], str]:
    """``encoder.encode`` for an encoder without indentation: the same text, the same errors.

    ``encode`` builds the C encoder that does the work anew on each call, which costs as much again as a small
    payload. The one kept here is made with the same arguments, but for the record of open containers that
    finds cycles: it would have to be fresh each time. What can't be encoded, a cycle among it (a
    `RecursionError` here), goes through ``encode`` itself, which says what is wrong.
    """
    pieces = _pieces(encoder)
    if pieces is None:
        return encoder.encode

    def encode(value: Any) -> str:
        try:
            return "".join(pieces(value, 0))
        except Exception:
            return encoder.encode(value)

    return encode


def _strings(encoder: json.JSONEncoder) -> Callable[[str], str]:
    return json.encoder.encode_basestring_ascii if encoder.ensure_ascii else json.encoder.encode_basestring


def _pieces(encoder: json.JSONEncoder) -> Callable[[Any, int], tuple[str, ...]] | None:
    """``None`` on a Python without the C encoder, and with indentation."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None or encoder.indent is not None:
        return None
    pieces: Callable[[Any, int], tuple[str, ...]] = make(
        None,
        encoder.default,
        _strings(encoder),
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return pieces
