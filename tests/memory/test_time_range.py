"""`spec/03 §2.1`."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from abstractruntime.memory import TimeRange

NOON = "2026-01-02T12:00:00+00:00"
ONE = "2026-01-02T13:00:00+00:00"
TWO = "2026-01-02T14:00:00+00:00"
THREE = "2026-01-02T15:00:00+00:00"


def test_a_range_without_bounds_contains_every_span() -> None:
    assert TimeRange().contains(start=None, end=None)
    assert TimeRange().contains(start="whatever", end="")


@pytest.mark.parametrize(("start", "end"), [(None, ONE), (ONE, None), ("", ONE), (ONE, ""), (None, None)])
def test_a_span_without_a_time_is_in_no_bounded_range(start: str | None, end: str | None) -> None:
    assert not TimeRange(start=NOON).contains(start=start, end=end)
    assert not TimeRange(end=THREE).contains(start=start, end=end)


@pytest.mark.parametrize(
    ("start", "end", "inside"),
    [
        (NOON, ONE, True),  # touches the bound
        (TWO, THREE, True),
        (NOON, THREE, True),
        (NOON, NOON, False),
        (THREE, THREE, False),
    ],
)
def test_a_range_is_closed_and_meets_what_touches_it(start: str, end: str, inside: bool) -> None:
    assert TimeRange(start=ONE, end=TWO).contains(start=start, end=end) is inside


def test_a_moment_matches_a_range_of_that_moment() -> None:
    assert TimeRange(start=ONE, end=ONE).contains(start=ONE, end=ONE)


def test_one_side_may_be_open() -> None:
    assert TimeRange(start=ONE).contains(start=TWO, end=THREE)
    assert not TimeRange(start=TWO).contains(start=NOON, end=ONE)
    assert TimeRange(end=ONE).contains(start=NOON, end=NOON)
    assert not TimeRange(end=ONE).contains(start=TWO, end=THREE)


def test_z_an_offset_and_no_offset_at_all_name_the_same_moment() -> None:
    same = TimeRange(start="2026-01-02T13:00:00Z", end="2026-01-02T14:00:00+01:00")
    assert same.contains(start="2026-01-02T13:00:00", end="2026-01-02T13:00:00")
    assert not same.contains(start="2026-01-02T12:59:59", end="2026-01-02T12:59:59")


@pytest.mark.parametrize(
    ("made", "start", "field"),
    [
        (TimeRange(start="yesterday"), ONE, "TimeRange.start"),
        (TimeRange(end="tomorrow"), ONE, "TimeRange.end"),
        (TimeRange(start=NOON), "once", "the span's start"),
    ],
)
def test_an_unreadable_time_is_named(made: TimeRange, start: str, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        made.contains(start=start, end=ONE)


def test_it_is_frozen_and_its_method_takes_names_only() -> None:
    with pytest.raises(FrozenInstanceError):
        TimeRange().start = NOON  # type: ignore[misc]
    with pytest.raises(TypeError):
        TimeRange().contains(NOON, ONE)  # type: ignore[misc]
