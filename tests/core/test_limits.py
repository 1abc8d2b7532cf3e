"""`spec/01 §9.9`: limits as pure functions."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.limits import apply_limit_updates, check_limits, limit_status
from abstractruntime.core.models import LimitWarning, RunState, RunStatus

BAD_LIMITS: list[dict[str, Any]] = [{}, {"_limits": None}, {"_limits": [1]}, {"_limits": "x"}]


def _check(**limits: Any) -> list[LimitWarning]:
    return check_limits(RunState("r", "w", RunStatus.RUNNING, "n", {"_limits": limits}))


@pytest.mark.parametrize("data", BAD_LIMITS)
def test_status_of_nothing(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    assert limit_status(data) == {
        "iterations": {"current": 0, "max": 25, "pct": 0, "warning": False},
        "tokens": {
            "estimated_used": 0,
            "max": 32768,
            "max_input_tokens": None,
            "max_output_tokens": None,
            "pct": 0,
            "warning": False,
        },
        "history": {"max_messages": -1},
    }
    assert data == before


def test_status_of_a_run() -> None:
    limits = {
        "max_iterations": 30,
        "current_iteration": 20,
        "max_tokens": 1000,
        "estimated_tokens_used": 900,
        "max_input_tokens": 500,
        "max_output_tokens": 100,
        "max_history_messages": 12,
    }
    assert limit_status({"_limits": limits}) == {
        "iterations": {"current": 20, "max": 30, "pct": 66.7, "warning": False},
        "tokens": {
            "estimated_used": 900,
            "max": 1000,
            "max_input_tokens": 500,
            "max_output_tokens": 100,
            "pct": 90.0,
            "warning": True,
        },
        "history": {"max_messages": 12},
    }


def test_status_falsy_values_are_defaults() -> None:
    status = limit_status({"_limits": {"max_iterations": 0, "max_tokens": None, "current_iteration": None}})
    assert status["iterations"]["max"] == 25
    assert status["tokens"]["max"] == 32768


def test_status_of_a_negative_maximum_is_zero_percent() -> None:
    assert limit_status({"_limits": {"max_iterations": -1, "current_iteration": 5}})["iterations"] == {
        "current": 5,
        "max": -1,
        "pct": 0,
        "warning": False,
    }


def test_status_threshold_is_raw_and_compared_with_the_rounded_percentage() -> None:
    at = {"max_iterations": 10_000, "current_iteration": 7996}
    assert limit_status({"_limits": at})["iterations"]["pct"] == 80.0
    assert limit_status({"_limits": at})["iterations"]["warning"] is True
    assert _check(**at) == []  # the check compares the unrounded one
    assert limit_status({"_limits": {"warn_iterations_pct": 0}})["iterations"]["warning"] is True
    assert limit_status({"_limits": {**at, "warn_iterations_pct": 99.5}})["iterations"]["warning"] is False


@pytest.mark.parametrize("junk", ["many", [], {}, float("nan"), float("inf"), object()])
def test_junk_values_do_not_raise(junk: Any) -> None:
    names = ("max_iterations", "current_iteration", "max_tokens", "estimated_tokens_used", "warn_tokens_pct")
    limits = dict.fromkeys(names, junk)
    assert limit_status({"_limits": limits})["iterations"] == {
        "current": 0,
        "max": 25,
        "pct": 0,
        "warning": False,
    }
    assert _check(**limits) == []


@pytest.mark.parametrize(
    ("current", "status"), [(19, None), (20, "warning"), (24, "warning"), (25, "exceeded"), (99, "exceeded")]
)
def test_check_iterations(current: int, status: str | None) -> None:
    expected = [] if status is None else [LimitWarning("iterations", status, current, 25)]
    assert _check(max_iterations=25, current_iteration=current) == expected


@pytest.mark.parametrize(("used", "status"), [(0, None), (79, None), (80, "warning"), (100, "exceeded")])
def test_check_tokens(used: int, status: str | None) -> None:
    expected = [] if status is None else [LimitWarning("tokens", status, used, 100)]
    assert _check(max_tokens=100, estimated_tokens_used=used) == expected


def test_check_order_is_iterations_then_tokens_and_never_history() -> None:
    warnings = _check(
        max_iterations=10,
        current_iteration=8,
        max_tokens=10,
        estimated_tokens_used=10,
        max_history_messages=1,
    )
    assert warnings == [
        LimitWarning("iterations", "warning", 8, 10),
        LimitWarning("tokens", "exceeded", 10, 10),
    ]
    assert [w.pct for w in warnings] == [80.0, 100.0]


def test_check_zero_means_default() -> None:
    assert _check(max_iterations=0, current_iteration=19, warn_iterations_pct=0) == []
    assert _check(max_iterations=0, current_iteration=25)[0].maximum == 25


def test_check_custom_threshold() -> None:
    assert _check(max_iterations=10, current_iteration=5, warn_iterations_pct=50)[0].status == "warning"


@pytest.mark.parametrize("data", BAD_LIMITS)
def test_check_without_usable_limits(data: dict[str, Any]) -> None:
    assert check_limits(RunState("r", "w", RunStatus.FAILED, "n", data)) == []


@pytest.mark.parametrize("data", BAD_LIMITS)
def test_updates_on_nothing(data: dict[str, Any]) -> None:
    copied = copy.deepcopy(data)
    apply_limit_updates(copied, {"max_tokens": 7})
    assert limit_status(copied)["tokens"]["max"] == 7
    assert limit_status(copied)["iterations"]["max"] == 25


def test_updates_known_names_only_and_in_place() -> None:
    limits = {"max_iterations": 1, "own": "kept"}
    updates = {
        "max_iterations": 2,
        "max_tokens": 3,
        "max_output_tokens": 4,
        "max_input_tokens": 5,
        "max_history_messages": 6,
        "warn_iterations_pct": 7,
        "warn_tokens_pct": 8,
        "estimated_tokens_used": 9,
        "current_iteration": 10,
    }
    apply_limit_updates({"_limits": limits}, {**updates, "max_cost": 1, "own": "lost"})
    assert limits == {**updates, "own": "kept"}


def test_updates_are_not_validated() -> None:
    data: dict[str, Any] = {"_limits": {}}
    apply_limit_updates(data, {"max_tokens": "many"})
    assert data["_limits"] == {"max_tokens": "many"}


@given(current=st.integers(0, 10**6), maximum=st.integers(1, 10**6))
def test_status_and_check_agree_on_exceeded(current: int, maximum: int) -> None:
    limits = {"max_iterations": maximum, "current_iteration": current}
    exceeded = [w for w in _check(**limits) if w.status == "exceeded"]
    assert bool(exceeded) == (current >= maximum)
    if exceeded:
        assert limit_status({"_limits": limits})["iterations"]["pct"] >= 100
