"""Times as text (`spec/01 §12.2`)."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.times import parse_time, to_iso, utc_text

UTC = timezone.utc


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:05Z",
        "2026-01-02T03:04:05z",
        "2026-01-02t03:04:05Z",
        "2026-01-02T03:04:05+00:00",
        "2026-01-02T03:04:05-00:00",
        "2026-01-02T03:04:05",
        "2026-01-02 03:04:05",
        "  2026-01-02T03:04:05Z\n",
        "2026-01-02T03:04:05 +00:00",
        "2026-01-02T05:04:05+02:00",
        "2026-01-02T05:04:05+0200",
        "2026-01-02T05:04:05+02",
        "2026-01-01T17:04:05-10:00",
        "2026-01-02T08:49:05+05:45",
        "2026-01-02T03:04:35+00:00:30",
        "2026-01-02T03:04:05.0Z",
        "2026-01-02T03:04:05.000000000Z",
        "2026-01-02T03:04:05,000Z",
        "20260102T030405Z",
        "20260102T050405+0200",
        "20260102T030405",
    ],
)
def test_one_moment_in_many_forms(text: str) -> None:
    moment = parse_time(text)
    assert moment == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("20260102", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:04", datetime(2026, 1, 2, 3, 4, tzinfo=UTC)),
        ("2026-01-02T03:04+01:00", datetime(2026, 1, 2, 2, 4, tzinfo=UTC)),
        ("2026-01-02T03:04:05.1", datetime(2026, 1, 2, 3, 4, 5, 100_000, tzinfo=UTC)),
        ("2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)),
        ("2026-01-02T03:04:05.6789019Z", datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)),
        ("2024-02-29T23:59:59-23:59", datetime(2024, 3, 1, 23, 58, 59, tzinfo=UTC)),
    ],
)
def test_other_moments(text: str, expected: datetime) -> None:
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "garbage",
        "tomorrow",
        "1767323045",
        "2026",
        "2026-01",
        "2026-1-2",
        "2026-W01-1",
        "2026-13-01",
        "2026-02-30",
        "2026-01-02T24:00:00Z",
        "2026-01-02T03:60:00Z",
        "2026-01-02T03:04:60Z",
        "2026-01-02T03",
        "2026-01-02T",
        "2026-01-02Z",
        "2026-01-02T03:04:05.Z",
        "2026-01-02T03:04:05+2",
        "2026-01-02T03:04:05+24:00",
        "2026-01-02T03:04:05+02:60",
        "2026-01-02T03:04:05 CET",
        "2026-01-02T03:04:05ZZ",
        "2026-01-02X03:04:05",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
        "\uff12\uff10\uff12\uff16-01-02T03:04:05Z",
        "2026-01-02T03:04:05Z\x00",
    ],
)
def test_bad_text_is_refused_and_shown(text: str) -> None:
    with pytest.raises(ValueError, match="time") as caught:
        parse_time(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("value", [None, 5, 1.5, b"2026-01-02", datetime(2026, 1, 2)])
def test_other_types_are_refused(value: Any) -> None:
    with pytest.raises(InvalidInputError, match="must be ISO 8601 text"):
        parse_time(value)


def test_to_iso_is_utc_with_microseconds() -> None:
    plus_two = timezone(timedelta(hours=2))
    assert to_iso(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)) == "2026-01-02T03:04:05.000000+00:00"
    assert to_iso(datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=plus_two)) == "2026-01-02T01:04:05.000006+00:00"


def test_to_iso_reads_naive_as_utc() -> None:
    assert to_iso(datetime(2026, 7, 2, 3, 4, 5)) == "2026-07-02T03:04:05.000000+00:00"


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(
    min_value=datetime(2, 1, 1), max_value=datetime(9998, 12, 31), timezones=st.just(UTC) | offsets
)


@given(moments)
def test_round_trip(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == moment
    assert parse_time(str(moment)) == moment
    assert parse_time(to_iso(moment)) == moment
    assert to_iso(parse_time(to_iso(moment))) == to_iso(moment)


@given(moments, moments)
def test_text_sorts_as_time(a: datetime, b: datetime) -> None:
    assert (to_iso(a) < to_iso(b)) == (a < b)


@given(st.text() | st.from_regex(r"[0-9TtZz:+.,\- ]{1,30}", fullmatch=True))
def test_parse_gives_a_time_or_a_value_error(text: str) -> None:
    try:
        moment = parse_time(text)
    except InvalidInputError:
        return
    assert moment.utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05+00:00"),
        ("2026-01-02T03:04:05.678901+00:00", "2026-01-02T03:04:05.678901+00:00"),
        ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05.000000+00:00"),
        ("2026-01-02T03:04:05.5+00:00", "2026-01-02T03:04:05.500000+00:00"),
        (" 2026-01-02T03:04:05+00:00", "2026-01-02T03:04:05.000000+00:00"),
    ],
)
def test_utc_text_keeps_what_sorts_already(text: str, stored: str) -> None:
    assert utc_text(text) == stored


@given(st.datetimes(min_value=datetime(1990, 1, 1)), st.datetimes(min_value=datetime(1990, 1, 1)))
def test_utc_text_sorts_as_time(one: datetime, other: datetime) -> None:
    first, second = (utc_text(moment.isoformat() + "+00:00") for moment in (one, other))
    if one != other:
        assert (first < second) == (one < other)
