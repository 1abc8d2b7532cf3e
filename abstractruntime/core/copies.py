"""Independent copies of JSON-like values."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

__all__ = ["copied"]

T = TypeVar("T")


def copied(value: T) -> T:
    """A deep copy that keeps Python types (tuples, integer keys) where JSON would change them; several times
    as fast as `copy.deepcopy` on what JSON gives."""
    kind = type(value)
    if kind is str or kind is int or value is None or kind is bool or kind is float:
        return value
    if kind is dict:
        # A text, the most frequent item, needs no call.
        return {key: item if type(item) is str else copied(item) for key, item in value.items()}  # type: ignore[attr-defined, return-value]
    if kind is list:
        return [item if type(item) is str else copied(item) for item in value]  # type: ignore[attr-defined, return-value]
    return deepcopy(value)
