"""Keeping what a model is shown within a number of tokens (`spec/03 §5`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from importlib import import_module
from typing import Any

from .llm_view import whole_number
from .spans import Message

__all__ = ["estimate_message_tokens", "estimate_tokens", "trim_messages_to_max_input_tokens"]

logger = logging.getLogger(__name__)

_ESTIMATOR = "abstractcore.utils.token_utils"
_CHARS_PER_TOKEN = 4


def estimate_tokens(text: str, *, model: str | None = None) -> int:
    """About how many tokens the text is: by abstractcore's estimator where that is installed, else a
    quarter of its characters. At least 1, but 0 for no text."""
    text = str(text or "")
    if not text:
        return 0
    try:
        return int(import_module(_ESTIMATOR).TokenUtils.estimate_tokens(text, model))
    except ModuleNotFoundError:
        logger.debug("%s is not installed: tokens are estimated by length", _ESTIMATOR)
    except Exception:
        logger.warning("%s failed: tokens are estimated by length", _ESTIMATOR, exc_info=True)
    return max(1, len(text) // _CHARS_PER_TOKEN)


def estimate_message_tokens(message: Any, *, model: str | None = None) -> int:
    """The tokens of ``role: content``; 0 for what is no message."""
    if not isinstance(message, dict):
        return 0
    role, content = str(message.get("role") or ""), str(message.get("content") or "")
    return estimate_tokens(f"{role}: {content}" if role else content, model=model)


def trim_messages_to_max_input_tokens(
    messages: Iterable[Any], *, max_input_tokens: int, model: str | None = None
) -> list[Message]:
    """All system messages, then as many of the last others, without a gap, as the budget has room for.

    The very last one is kept whatever its size.

    Args:
        messages: left as they are; copies are returned, without what is no message.
        max_input_tokens: the budget; no number, 0 or less: everything stays, in its order.
        model: whose tokens; ``None`` for a general estimate.
    """
    known = [dict(message) for message in messages if isinstance(message, dict)]
    budget = whole_number(max_input_tokens, 0)
    if budget <= 0:
        return known
    system = [message for message in known if message.get("role") == "system"]
    others = [message for message in known if message.get("role") != "system"]
    room = budget - sum(estimate_message_tokens(message, model=model) for message in system)
    first = len(others)
    for message in reversed(others):
        room -= estimate_message_tokens(message, model=model)
        if room < 0 and first < len(others):
            break
        first -= 1
    return system + others[first:]
