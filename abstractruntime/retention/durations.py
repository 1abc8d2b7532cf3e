"""Durations as people write them: ``30d``, ``12h``, ``1d12h``."""

from __future__ import annotations

import re
from datetime import timedelta

from abstractruntime.core.errors import InvalidInputError

__all__ = ["parse_duration"]

_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_PART = re.compile(r"(\d+(?:\.\d+)?)([wdhms])", re.ASCII)
_WHOLE = re.compile(rf"(?:{_PART.pattern})+", re.ASCII)


def parse_duration(text: str) -> timedelta:
    """A duration: numbers with units, ``w`` weeks, ``d`` days, ``h`` hours, ``m`` minutes, ``s`` seconds.

    Raises:
        InvalidInputError: (a ``ValueError``) not such a text, a unit is given twice, or it is too long.
    """
    trimmed = "".join(text.split()).lower()
    if _WHOLE.fullmatch(trimmed) is None:
        raise InvalidInputError(
            f"Not a duration: {text!r}; write numbers with units (w, d, h, m, s), like 30d, 12h or 1d12h"
        )
    parts = {unit: float(number) for number, unit in _PART.findall(trimmed)}
    if len(parts) != len(_PART.findall(trimmed)):
        raise InvalidInputError(f"Not a duration: {text!r} names a unit twice")
    try:
        return timedelta(**{_UNITS[unit]: number for unit, number in parts.items()})
    except OverflowError:
        raise InvalidInputError(f"Not a duration: {text!r} is too long") from None
