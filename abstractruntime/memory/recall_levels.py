"""How much effort a recall may take: three levels, each with defaults and limits (`spec/03 §4`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from abstractruntime.core.errors import InvalidInputError

__all__ = [
    "KgQueryPolicy",
    "RecallLevel",
    "RecallPolicy",
    "RehydratePolicy",
    "SpanRecallPolicy",
    "parse_recall_level",
    "policy_for",
]


class RecallLevel(str, Enum):
    """From quick and shallow to slow and thorough."""

    URGENT = "urgent"
    STANDARD = "standard"
    DEEP = "deep"


@dataclass(frozen=True)
class SpanRecallPolicy:
    """Searching spans: how many, how deep into their messages, how far to their neighbours."""

    limit_spans_default: int
    limit_spans_max: int
    deep_allowed: bool
    deep_limit_spans_max: int
    deep_limit_messages_per_span_max: int
    connected_allowed: bool
    neighbor_hops_max: int
    max_messages_default: int
    max_messages_max: int


@dataclass(frozen=True)
class RehydratePolicy:
    """Bringing messages back: how many."""

    max_messages_default: int
    max_messages_max: int


@dataclass(frozen=True)
class KgQueryPolicy:
    """Asking the knowledge graph: how similar (0 to 1), how many, how many tokens."""

    min_score_default: float
    min_score_floor: float
    limit_default: int
    limit_max: int
    max_input_tokens_default: int
    max_input_tokens_max: int


@dataclass(frozen=True)
class RecallPolicy:
    """What a level allows. Defaults fill what a caller leaves out; what goes beyond a limit is cut back
    to it, with a warning."""

    level: RecallLevel
    span: SpanRecallPolicy
    rehydrate: RehydratePolicy
    kg: KgQueryPolicy


_POLICIES = {
    policy.level: policy
    for policy in (
        RecallPolicy(
            RecallLevel.URGENT,
            SpanRecallPolicy(
                limit_spans_default=2,
                limit_spans_max=3,
                deep_allowed=False,
                deep_limit_spans_max=0,
                deep_limit_messages_per_span_max=0,
                connected_allowed=False,
                neighbor_hops_max=0,
                max_messages_default=30,
                max_messages_max=60,
            ),
            RehydratePolicy(max_messages_default=30, max_messages_max=60),
            KgQueryPolicy(
                min_score_default=0.55,
                min_score_floor=0.5,
                limit_default=20,
                limit_max=40,
                max_input_tokens_default=600,
                max_input_tokens_max=1000,
            ),
        ),
        RecallPolicy(
            RecallLevel.STANDARD,
            SpanRecallPolicy(
                limit_spans_default=5,
                limit_spans_max=8,
                deep_allowed=True,
                deep_limit_spans_max=25,
                deep_limit_messages_per_span_max=200,
                connected_allowed=True,
                neighbor_hops_max=1,
                max_messages_default=80,
                max_messages_max=150,
            ),
            RehydratePolicy(max_messages_default=80, max_messages_max=200),
            KgQueryPolicy(
                min_score_default=0.4,
                min_score_floor=0.25,
                limit_default=80,
                limit_max=200,
                max_input_tokens_default=1200,
                max_input_tokens_max=3000,
            ),
        ),
        RecallPolicy(
            RecallLevel.DEEP,
            SpanRecallPolicy(
                limit_spans_default=8,
                limit_spans_max=20,
                deep_allowed=True,
                deep_limit_spans_max=100,
                deep_limit_messages_per_span_max=400,
                connected_allowed=True,
                neighbor_hops_max=2,
                max_messages_default=200,
                max_messages_max=600,
            ),
            RehydratePolicy(max_messages_default=200, max_messages_max=800),
            KgQueryPolicy(
                min_score_default=0.25,
                min_score_floor=0.0,
                limit_default=200,
                limit_max=1000,
                max_input_tokens_default=2400,
                max_input_tokens_max=6000,
            ),
        ),
    )
}


def parse_recall_level(raw: Any) -> RecallLevel | None:
    """The level that ``raw`` names, whatever its case; ``None`` for nothing or blank text: no policy.

    Raises:
        InvalidInputError: (a ``ValueError``) it names none.
    """
    if isinstance(raw, RecallLevel):
        return raw
    if isinstance(raw, bool):
        raise InvalidInputError("recall_level must be a string")
    name = "" if raw is None else str(raw).strip().lower()
    if not name:
        return None
    try:
        return RecallLevel(name)
    except ValueError:
        raise InvalidInputError(f"Unknown recall_level: {name}") from None


def policy_for(level: RecallLevel) -> RecallPolicy:
    """What the level allows."""
    return _POLICIES[RecallLevel(level)]
