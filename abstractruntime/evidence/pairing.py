"""Which call a result belongs to (`spec/03 §18.30`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Observation", "observations", "text_of"]


@dataclass(frozen=True, slots=True)
class Observation:
    """One tool result with the call it answers.

    Attributes:
        result: the result as it is in the step's outcome; may be rewritten.
        call: the call; empty when none can be told.
        tool_name: of the result, else of the call; may be empty.
        call_id: of the result, else of the call; may be empty.
        runtime_call_id: the kernel's id of the call, the same after every restart; may be empty.
    """

    result: dict[str, Any]
    call: dict[str, Any]
    tool_name: str
    call_id: str
    runtime_call_id: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The call's arguments; empty when they are no object."""
        arguments = self.call.get("arguments")
        return arguments if isinstance(arguments, dict) else {}


def observations(calls: Sequence[Any], results: Sequence[Any]) -> list[Observation]:
    """The results that are objects, each with its call: by the kernel's id, else by ``call_id``, else by
    position. A result never gets the call that another one names, nor that of another tool."""
    by_runtime_id = _index(calls, "runtime_call_id")
    by_call_id = _index(calls, "call_id")
    named = [_named(result, by_runtime_id, by_call_id) for result in results]
    taken = {position for position in named if position is not None}
    found = []
    for position, result in enumerate(results):
        if not isinstance(result, dict):
            continue
        answered = named[position]
        if answered is None and position not in taken and _fits(calls, position, result):
            answered = position
        call = calls[answered] if answered is not None else {}
        found.append(_observation(result, call))
    return found


def text_of(value: object) -> str:
    """Trimmed text; empty for anything else."""
    return value.strip() if isinstance(value, str) else ""


def _observation(result: dict[str, Any], call: dict[str, Any]) -> Observation:
    ids = (call.get("runtime_call_id"), result.get("runtime_call_id"))
    return Observation(
        result,
        call,
        text_of(result.get("name")) or text_of(call.get("name")),
        text_of(result.get("call_id")) or text_of(call.get("call_id")),
        next(filter(None, map(text_of, ids)), ""),
    )


def _index(calls: Iterable[Any], key: str) -> dict[str, int]:
    """Position by id; an id that several calls have names none."""
    index: dict[str, int] = {}
    several = set()
    for position, call in enumerate(calls):
        own = text_of(call.get(key)) if isinstance(call, dict) else ""
        if own in index:
            several.add(own)
        if own:
            index[own] = position
    return {own: position for own, position in index.items() if own not in several}


def _named(result: Any, by_runtime_id: dict[str, int], by_call_id: dict[str, int]) -> int | None:
    if not isinstance(result, dict):
        return None
    position = by_runtime_id.get(text_of(result.get("runtime_call_id")))
    return by_call_id.get(text_of(result.get("call_id"))) if position is None else position


def _fits(calls: Sequence[Any], position: int, result: dict[str, Any]) -> bool:
    if position >= len(calls) or not isinstance(calls[position], dict):
        return False
    own, asked = text_of(result.get("name")), text_of(calls[position].get("name"))
    return not own or not asked or own == asked
