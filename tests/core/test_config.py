"""`spec/01 §4`: RuntimeConfig."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.config import DEFAULT_RECOMMENDED_MAX_INPUT_TOKENS, RuntimeConfig
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.vars import default_limits


def _input_limit(**fields: Any) -> Any:
    return RuntimeConfig(**fields).to_limits_dict()["max_input_tokens"]


def test_defaults() -> None:
    assert dataclasses.asdict(RuntimeConfig()) == {
        "max_iterations": 25,
        "warn_iterations_pct": 80,
        "max_tokens": None,
        "max_output_tokens": None,
        "max_input_tokens": None,
        "warn_tokens_pct": 80,
        "max_history_messages": -1,
        "provider": None,
        "model": None,
        "model_capabilities": {},
        "max_subworkflow_depth": 50,
        "max_vars_query_chars": 1_000_000,
        "max_subworkflow_steps": 100_000,
    }
    assert DEFAULT_RECOMMENDED_MAX_INPUT_TOKENS == -1


def test_frozen_and_no_shared_default() -> None:
    config = RuntimeConfig()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_tokens = 1  # type: ignore[misc]
    assert RuntimeConfig().model_capabilities is not config.model_capabilities


def test_limits_without_configuration_are_the_defaults_of_vars() -> None:
    limits = RuntimeConfig().to_limits_dict()
    assert limits == default_limits()
    assert len(limits) == 9


def test_limits_are_fresh_each_time() -> None:
    config = RuntimeConfig()
    config.to_limits_dict()["current_iteration"] = 7
    assert config.to_limits_dict()["current_iteration"] == 0


def test_all_fields_reach_the_limits() -> None:
    config = RuntimeConfig(
        max_iterations=7,
        warn_iterations_pct=50,
        max_tokens=1000,
        max_output_tokens=100,
        max_input_tokens=500,
        warn_tokens_pct=60,
        max_history_messages=3,
    )
    assert config.to_limits_dict() == {
        "max_iterations": 7,
        "current_iteration": 0,
        "max_tokens": 1000,
        "max_output_tokens": 100,
        "max_input_tokens": 500,
        "estimated_tokens_used": 0,
        "max_history_messages": 3,
        "warn_iterations_pct": 50,
        "warn_tokens_pct": 60,
    }


def test_capabilities_fill_in_and_fields_win() -> None:
    known = {"max_tokens": 200, "max_output_tokens": 20}
    limits = RuntimeConfig(model_capabilities=known).to_limits_dict()
    assert (limits["max_tokens"], limits["max_output_tokens"]) == (200, 20)
    limits = RuntimeConfig(max_tokens=100, max_output_tokens=0, model_capabilities=known).to_limits_dict()
    assert (limits["max_tokens"], limits["max_output_tokens"]) == (100, 0)


def test_null_capabilities_count_as_absent() -> None:
    limits = RuntimeConfig(model_capabilities={"max_tokens": None}).to_limits_dict()
    assert limits["max_tokens"] == 32768


@pytest.mark.parametrize(
    ("requested", "expected"),
    [
        (None, None),
        (5000, 644),
        (644, 644),
        (100, 100),
        (0, 0),
        (-5, 0),
        ("300", 300),
        ("lots", 644),
        ([], 644),
        (float("inf"), 644),
        (float("nan"), 644),
    ],
)
def test_input_is_clamped_when_window_and_output_are_known(requested: Any, expected: Any) -> None:
    assert _input_limit(max_tokens=1000, max_output_tokens=100, max_input_tokens=requested) == expected


def test_input_room_is_never_negative() -> None:
    assert _input_limit(max_tokens=100, max_output_tokens=100, max_input_tokens=50) == 0


def test_default_window_counts_when_the_output_is_known() -> None:
    assert _input_limit(max_output_tokens=512, max_input_tokens=10**6) == 32768 - 512 - 256


@pytest.mark.parametrize(
    ("requested", "expected"), [(5000, 1000), (1000, 1000), (10, 10), ("x", 1000), (-1, -1)]
)
def test_input_is_bounded_by_a_stated_window_when_the_output_is_unknown(
    requested: Any, expected: int
) -> None:
    assert _input_limit(max_tokens=1000, max_input_tokens=requested) == expected
    assert _input_limit(model_capabilities={"max_tokens": 1000}, max_input_tokens=requested) == expected


def test_input_is_not_cut_down_to_a_guessed_window() -> None:
    assert _input_limit(max_input_tokens=100_000) == 100_000


@pytest.mark.parametrize("window", ["1000", 0, -1, True, 10.5])
def test_unusable_window_bounds_nothing(window: Any) -> None:
    assert _input_limit(max_tokens=window, max_output_tokens=1, max_input_tokens=5000) == 5000


@pytest.mark.parametrize("output", ["10", -1, True])
def test_unusable_output_size_counts_as_unknown(output: Any) -> None:
    assert _input_limit(max_tokens=1000, max_output_tokens=output, max_input_tokens=5000) == 1000


@given(window=st.integers(1, 10**6), output=st.integers(0, 10**6), requested=st.integers(-(10**7), 10**7))
def test_clamped_input_always_leaves_room(window: int, output: int, requested: int) -> None:
    limit = _input_limit(max_tokens=window, max_output_tokens=output, max_input_tokens=requested)
    assert 0 <= limit <= max(0, window - output - 256)


def test_with_capabilities_merges_and_new_keys_win() -> None:
    config = RuntimeConfig(provider="p", model_capabilities={"max_tokens": 1, "tool_support": "native"})
    merged = config.with_capabilities({"max_tokens": 2, "vision": True})
    assert merged.model_capabilities == {"max_tokens": 2, "tool_support": "native", "vision": True}
    assert merged == dataclasses.replace(config, model_capabilities=merged.model_capabilities)
    assert config.model_capabilities == {"max_tokens": 1, "tool_support": "native"}


def test_with_capabilities_copies_the_argument() -> None:
    given_caps = {"max_tokens": 2}
    merged = RuntimeConfig().with_capabilities(given_caps)
    given_caps["max_tokens"] = 3
    assert merged.model_capabilities == {"max_tokens": 2}


def test_with_capabilities_accepts_none() -> None:
    assert RuntimeConfig().with_capabilities(None) == RuntimeConfig()


def test_depth_is_not_a_limit_of_the_run_and_is_checked() -> None:
    assert "max_subworkflow_depth" not in RuntimeConfig(max_subworkflow_depth=3).to_limits_dict()
    assert RuntimeConfig(max_subworkflow_depth=0).max_subworkflow_depth == 0
    with pytest.raises(InvalidInputError, match="max_subworkflow_depth is -1"):
        RuntimeConfig(max_subworkflow_depth=-1)


def test_steps_of_a_child_are_no_limit_of_the_run_and_are_checked() -> None:
    assert "max_subworkflow_steps" not in RuntimeConfig(max_subworkflow_steps=3).to_limits_dict()
    for steps in (0, -1):
        with pytest.raises(InvalidInputError, match=f"max_subworkflow_steps is {steps}; use 1 or more"):
            RuntimeConfig(max_subworkflow_steps=steps)


def test_size_of_a_vars_query_is_checked() -> None:
    assert RuntimeConfig(max_vars_query_chars=0).max_vars_query_chars == 0
    with pytest.raises(InvalidInputError, match="max_vars_query_chars is -1"):
        RuntimeConfig(max_vars_query_chars=-1)
