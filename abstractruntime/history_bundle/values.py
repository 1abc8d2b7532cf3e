"""Careful looks into values of any shape: what others stored may be anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.times import parse_time

__all__ = ["Object", "as_object", "as_text", "first_text", "moment"]

Object = Mapping[str, Any]


def as_object(value: object) -> Object:
    """``value`` if it is an object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def as_text(value: object) -> str | None:
    """Non-blank text (a member of a str enum as its value), else ``None``."""
    return str.__str__(value) if isinstance(value, str) and value.strip() else None


def first_text(holder: Object, keys: Iterable[str]) -> str | None:
    """The first non-blank text under one of the keys, stripped."""
    for key in keys:
        text = as_text(holder.get(key))
        if text is not None:
            return text.strip()
    return None


def moment(value: object) -> datetime | None:
    """The time that ``value`` names, ``None`` if it names none."""
    try:
        return parse_time(value) if isinstance(value, str) else None
    except InvalidInputError:
        return None
