"""`spec/03 §4`."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, asdict
from typing import Any

import pytest

from abstractruntime.memory.recall_levels import RecallLevel, parse_recall_level, policy_for

# One line per field: urgent, standard, deep.
TABLE: dict[str, tuple[Any, Any, Any]] = {
    "span.limit_spans_default": (2, 5, 8),
    "span.limit_spans_max": (3, 8, 20),
    "span.deep_allowed": (False, True, True),
    "span.deep_limit_spans_max": (0, 25, 100),
    "span.deep_limit_messages_per_span_max": (0, 200, 400),
    "span.connected_allowed": (False, True, True),
    "span.neighbor_hops_max": (0, 1, 2),
    "span.max_messages_default": (30, 80, 200),
    "span.max_messages_max": (60, 150, 600),
    "rehydrate.max_messages_default": (30, 80, 200),
    "rehydrate.max_messages_max": (60, 200, 800),
    "kg.min_score_default": (0.55, 0.4, 0.25),
    "kg.min_score_floor": (0.5, 0.25, 0.0),
    "kg.limit_default": (20, 80, 200),
    "kg.limit_max": (40, 200, 1000),
    "kg.max_input_tokens_default": (600, 1200, 2400),
    "kg.max_input_tokens_max": (1000, 3000, 6000),
}


@pytest.mark.parametrize(("column", "level"), list(enumerate(RecallLevel)))
def test_the_levels(column: int, level: RecallLevel) -> None:
    policy = policy_for(level)
    assert policy.level is level
    parts = asdict(policy)
    fields = {
        f"{part}.{name}": value for part in ("span", "rehydrate", "kg") for name, value in parts[part].items()
    }
    assert fields == {name: values[column] for name, values in TABLE.items()}
    with pytest.raises(FrozenInstanceError):
        policy.span.limit_spans_max = 1000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("raw", "level"),
    [
        (None, None),
        ("", None),
        ("  ", None),
        (" Deep ", RecallLevel.DEEP),
        ("URGENT", RecallLevel.URGENT),
        (RecallLevel.STANDARD, RecallLevel.STANDARD),
    ],
)
def test_reading_a_level(raw: Any, level: RecallLevel | None) -> None:
    assert parse_recall_level(raw) is level


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (True, "recall_level must be a string"),
        (" Slow ", "Unknown recall_level: slow"),
        (3, "Unknown recall_level: 3"),
    ],
)
def test_no_level(raw: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=f"^{problem}$"):
        parse_recall_level(raw)
