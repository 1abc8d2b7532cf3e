"""Which result belongs to which call (`spec/04 §7.7`, §16.9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from .shapes import ToolCall, ToolResult, result_of

__all__ = ["paired"]


def paired(
    calls: Sequence[ToolCall], results: Any, *, missing: str = "Missing tool result"
) -> list[ToolResult]:
    """One result per call, in their order.

    A result belongs to the call with its ``runtime_call_id``, else with its ``call_id``, as far as calls can
    be told apart by those; else to the call at its position.

    Args:
        results: what an executor returned; anything that is no list counts as no results.
        missing: the error of a call without one.
    """
    given = results if isinstance(results, list) else []
    index = _Index(calls)
    found: dict[int, Any] = {}
    strangers: list[tuple[int, Any]] = []
    for position, result in enumerate(given):
        owner = index.owner(result)
        if owner is None or owner in found:
            strangers.append((position, result))
        else:
            found[owner] = result
    for position, result in strangers:
        found.setdefault(position, result)
    return [_result(call, found, i, missing) for i, call in enumerate(calls)]


def _result(call: ToolCall, found: dict[int, Any], i: int, missing: str) -> ToolResult:
    if i not in found:
        return result_of(call, error=missing)
    result = found[i]
    return result if isinstance(result, dict) else result_of(call, error="Invalid tool result")


class _Index:
    """Positions of calls by what identifies them."""

    def __init__(self, calls: Sequence[ToolCall]) -> None:
        self._by = {key: _unique(calls, key) for key in ("runtime_call_id", "call_id")}

    def owner(self, result: Any) -> int | None:
        if not isinstance(result, dict):
            return None
        for key, positions in self._by.items():
            position = positions.get(_id(result, key))
            if position is not None:
                return position
        return None


def _unique(calls: Sequence[ToolCall], key: str) -> dict[str, int]:
    ids = [_id(call, key) for call in calls]
    counts = Counter(ids)
    return {one: position for position, one in enumerate(ids) if one and counts[one] == 1}


def _id(entry: ToolCall, key: str) -> str:
    value = entry.get(key)
    return "" if value is None else str(value).strip()
