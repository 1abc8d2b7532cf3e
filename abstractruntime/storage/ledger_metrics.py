"""Counters of a run out of its completed records (`spec/02 §6.4`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["Metrics", "add_completed", "wanted_ids"]

Metrics = dict[str, int]


def wanted_ids(run_ids: Iterable[str]) -> list[str]:
    """The ids stripped, without blanks and repetitions."""
    return list(dict.fromkeys(filter(None, (str(run_id).strip() for run_id in run_ids))))


def add_completed(metrics: dict[str, Metrics], run_id: str, record: Mapping[str, Any]) -> None:
    """Count one completed record for its run."""
    counts = metrics.setdefault(run_id, {"steps": 0, "llm_calls": 0, "tool_calls": 0, "tokens_total": 0})
    counts["steps"] += 1
    effect = _object(record.get("effect"))
    if effect.get("type") == "llm_call":
        counts["llm_calls"] += 1
        tokens = _object(_object(record.get("result")).get("usage")).get("total_tokens")
        counts["tokens_total"] += int(tokens) if isinstance(tokens, (int, float)) else 0
    elif effect.get("type") == "tool_calls":
        calls = _object(effect.get("payload")).get("tool_calls")
        counts["tool_calls"] += len(calls) if isinstance(calls, list) else 0


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
