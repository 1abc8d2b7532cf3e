"""Durations and policies: what is accepted and what is refused."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunStatus
from abstractruntime.retention import RetentionPolicy, parse_duration
from abstractruntime.storage.run_trees import RunMark

NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30d", timedelta(days=30)),
        ("2w", timedelta(weeks=2)),
        ("12h", timedelta(hours=12)),
        ("90m", timedelta(minutes=90)),
        ("45s", timedelta(seconds=45)),
        ("1d12h", timedelta(days=1, hours=12)),
        (" 1.5 H ", timedelta(hours=1.5)),
        ("0s", timedelta()),
    ],
)
def test_durations(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize("text", ["", "30", "d", "-3d", "3 months", "1d1d", "9999999999999w", "1e3s", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="Not a duration"):
        parse_duration(text)


def test_one_age_means_all_ended_runs() -> None:
    policy = RetentionPolicy(timedelta(days=1))
    assert set(policy.older_than) == {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED}
    assert policy == RetentionPolicy(dict.fromkeys(("completed", "failed", "cancelled"), timedelta(days=1)))
    assert policy.removes_anything()
    assert not RetentionPolicy().removes_anything()
    assert RetentionPolicy(events=timedelta()).removes_anything()


@pytest.mark.parametrize("status", ["running", "waiting"])
def test_runs_that_may_go_on_are_never_let_go(status: str) -> None:
    with pytest.raises(InvalidInputError, match=f"that are {status} are never purged"):
        RetentionPolicy({status: timedelta(days=1)})
    mark = RunMark("2000-01-01T00:00:00.000000+00:00", "r", status)
    assert not RetentionPolicy(timedelta()).lets_go(mark, NOW)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"done": timedelta(days=1)}, "Unknown status 'done'"),
        ({"failed": timedelta(days=-1)}, "How old failed must be"),
        ({"failed": 30}, "How old failed must be"),
        (30, "must be a timedelta or a dict"),
    ],
)
def test_wrong_policies_are_refused(wrong: object, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        RetentionPolicy(wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="How old events must be"):
        RetentionPolicy(events=timedelta(days=-1))


def test_an_age_beyond_all_times_keeps_everything() -> None:
    policy = RetentionPolicy(timedelta.max)
    assert policy.updated_before(RunStatus.FAILED, NOW).startswith("0001-01-01")
    assert not policy.lets_go(RunMark("0001-01-01T00:00:00.000000+00:00", "r", "failed"), NOW)
