"""A stretch of time to look for (`spec/03 §2.1`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.times import parse_time

__all__ = ["TimeRange"]


@dataclass(frozen=True)
class TimeRange:
    """A closed interval of time; without an offset a time is UTC.

    Attributes:
        start, end: ISO-8601 text; ``None`` leaves that side open.
    """

    start: str | None = None
    end: str | None = None

    def contains(self, *, start: str | None, end: str | None) -> bool:
        """Whether the span from ``start`` to ``end`` has a moment in common with the range.

        The range without bounds has one with any span, any other only with spans that have both times.

        Raises:
            InvalidInputError: (a ``ValueError``) a time can't be read; the message says which.
        """
        if self.start is None and self.end is None:
            return True
        if not start or not end:
            return False
        first, last = _moment("the span's start", start), _moment("the span's end", end)
        if self.start is not None and last < _moment("TimeRange.start", self.start):
            return False
        return self.end is None or first <= _moment("TimeRange.end", self.end)


def _moment(field: str, text: str) -> datetime:
    try:
        return parse_time(text)
    except InvalidInputError as problem:
        raise InvalidInputError(f"{field}: {problem}") from None
