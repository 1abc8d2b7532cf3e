"""Independent copies of JSON-like values."""

from __future__ import annotations

from copy import deepcopy
from typing import TypeVar

__all__ = ["copied"]

T = TypeVar("T")

_FLAT = frozenset({str, int, bool, float, type(None)})


def copied(value: T) -> T:
    """A deep copy that keeps Python types (tuples, integer keys) where JSON would change them; several times
    as fast as `copy.deepcopy` on what JSON gives."""
    if type(value) in _FLAT:
        return value
    if type(value) is dict:
        kept = value.copy()  # type: ignore[attr-defined]  # at once, and then only what is not flat
        for key, item in value.items():  # type: ignore[attr-defined]
            if type(item) not in _FLAT:
                kept[key] = copied(item)
        return kept  # type: ignore[no-any-return]
    if type(value) is list:
        return [item if type(item) in _FLAT else copied(item) for item in value]  # type: ignore[attr-defined, return-value]
    return deepcopy(value)
