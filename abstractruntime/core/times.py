"""Times as text: read leniently, written in one form (`spec/01 §12.2`).

The form written sorts as text in the order of time, so stores may compare and index it as a string.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from .errors import InvalidInputError

__all__ = ["parse_time", "to_iso", "utc_text"]

# Our own grammar, not datetime.fromisoformat: what that accepts differs between Python versions (3.10 takes
# no "Z"), and the same stored time must mean the same everywhere.
_EXTENDED = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
    r"(?:[Tt ](?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r" ?(?P<zone>[Zz]|(?P<sign>[+-])(?P<zh>\d\d)(?::?(?P<zm>\d\d)(?::?(?P<zs>\d\d))?)?)?)?",
    re.ASCII,
)
_BASIC = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)"
    r"(?:[Tt](?P<hour>\d\d)(?P<minute>\d\d)(?:(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"(?P<zone>[Zz]|(?P<sign>[+-])(?P<zh>\d\d)(?::?(?P<zm>\d\d)(?::?(?P<zs>\d\d))?)?)?)?",
    re.ASCII,
)

# Without a fraction the offset's "+" stands where others have ".", and sorts before it: the order of time.
_SORTABLE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?\+00:00", re.ASCII)


def parse_time(text: str) -> datetime:
    """The moment that ISO 8601 ``text`` names, as an aware UTC datetime.

    ``Z`` and any offset are accepted; without either the time is read as UTC. A date alone is its midnight.
    Digits beyond microseconds are cut off.

    Raises:
        InvalidInputError: (a ``ValueError``) no such time, or one outside the years 1 to 9999 in UTC.
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"A time must be ISO 8601 text, not {type(text).__name__}: {text!r}")
    trimmed = text.strip()
    match = _EXTENDED.fullmatch(trimmed) or _BASIC.fullmatch(trimmed)
    if match is None:
        raise InvalidInputError(
            f"Not an ISO 8601 time: {text!r}; write it like 2026-01-02T03:04:05Z or 2026-01-02T03:04:05+02:00"
        )
    try:
        return _local_time(match).replace(tzinfo=timezone.utc) - _offset(match)
    except (ValueError, OverflowError) as problem:
        raise InvalidInputError(f"No such time: {text!r} ({problem})") from None


def to_iso(moment: datetime) -> str:
    """``moment`` in UTC, always with microseconds and offset: ``2026-01-02T03:04:05.000000+00:00``.

    A naive ``moment`` is read as UTC, as in `parse_time`.
    """
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
    return aware.astimezone(timezone.utc).isoformat(timespec="microseconds")


def utc_text(text: str) -> str:
    """The moment that ``text`` names, as text in UTC that sorts in the order of time.

    Text that is such already stays as it is, so that a host finds the time it gave.

    Raises:
        InvalidInputError: as `parse_time`.
    """
    moment = parse_time(text)
    return text if _SORTABLE.fullmatch(text) else to_iso(moment)


def _local_time(match: re.Match[str]) -> datetime:
    micros = (match["fraction"] or "").ljust(6, "0")[:6]
    return datetime(
        int(match["year"]),
        int(match["month"]),
        int(match["day"]),
        int(match["hour"] or 0),
        int(match["minute"] or 0),
        int(match["second"] or 0),
        int(micros),
    )


def _offset(match: re.Match[str]) -> timedelta:
    if not match["sign"]:
        return timedelta()
    hours, minutes, seconds = int(match["zh"]), int(match["zm"] or 0), int(match["zs"] or 0)
    if hours > 23 or minutes > 59 or seconds > 59:
        raise ValueError("an offset is less than 24 hours, its minutes and seconds less than 60")
    size = timedelta(hours=hours, minutes=minutes, seconds=seconds)
    return -size if match["sign"] == "-" else size
