"""The part of the active context that a model is shown (`spec/03 §2.3`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState

from .spans import Message, messages_of, object_at

__all__ = ["history_limit", "messages_view", "run_view", "whole_number"]


def messages_view(messages: Any, max_history_messages: int) -> list[Message]:
    """System messages, then the last ``max_history_messages`` others; a negative number means all.

    Copies of the messages, in the order they had.
    """
    known = [dict(message) for message in messages if isinstance(message, dict)]
    system = [message for message in known if message.get("role") == "system"]
    others = [message for message in known if message.get("role") != "system"]
    first = 0 if max_history_messages < 0 else max(0, len(others) - max_history_messages)
    return system + others[first:]


def history_limit(run: RunState, max_history_messages: object) -> int:
    """``max_history_messages``, or when that is ``None`` the run's own limit; -1 is no limit."""
    given = max_history_messages
    if given is None:
        given = object_at(run.vars, "_limits").get("max_history_messages")
    return whole_number(given, -1)


def whole_number(value: Any, otherwise: int) -> int:
    """``value`` as an int; ``otherwise`` when it is none."""
    try:
        return otherwise if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return otherwise


def run_view(run: RunState, max_history_messages: object) -> list[Message]:
    """What a model is shown of the run."""
    return messages_view(messages_of(run), history_limit(run, max_history_messages))
