"""The time as it is, for what carries the time of its making (`spec/01 §2.5`)."""

from __future__ import annotations

from datetime import datetime, timezone
from time import time_ns

__all__ = ["utc_now", "utc_now_iso"]


def utc_now() -> datetime:
    """The current time as an aware UTC datetime."""
    return datetime.now(timezone.utc)


_SECOND = 1_000_000_000
_this_second: tuple[int, str] = (-_SECOND, "")


def utc_now_iso() -> str:
    """The current UTC time as ISO 8601 text with offset, e.g. ``2026-01-02T03:04:05.678901+00:00``.

    Called several times per step, so the text of the current second is kept.
    """
    global _this_second
    nanos = time_ns()
    second, text = _this_second
    if not 0 <= nanos - second < _SECOND:
        second = nanos - nanos % _SECOND
        text = datetime.fromtimestamp(second // _SECOND, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.")
        _this_second = (second, text)
    # The leading 1 keeps the zeros that follow it; cutting text costs half of what a format does.
    return f"{text}{str(_SECOND + nanos - second)[1:7]}+00:00"
