"""How much a call may send and receive, in tokens (`spec/04 §6.5`)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from abstractruntime.core.models import RunState

from ..flags import boolish
from .payload import LlmCall, positive_int
from .run_settings import limits_of, runtime_of

__all__ = ["output_budget", "trimmed_messages", "with_output_budget"]

logger = logging.getLogger(__name__)

_KEYS = ("max_output_tokens", "max_tokens")
_CHARS_PER_TOKEN = 4


def output_budget(params: dict[str, Any]) -> int | None:
    """What the params allow, ``None`` if they say nothing."""
    return next((budget for key in _KEYS if (budget := positive_int(params.get(key)))), None)


def with_output_budget(run: RunState, call: LlmCall, params: dict[str, Any]) -> dict[str, Any]:
    """The params with the output budget: their own, else the payload's, else the run's limit.

    A budget of 0 or less, or one that is no number, is none, and is not sent (the published package sends
    a zero along).
    """
    params = {key: value for key, value in params.items() if key not in _KEYS or positive_int(value)}
    if output_budget(params) is None:
        budget = call.max_output_tokens or positive_int(limits_of(run).get("max_output_tokens"))
        if budget is not None:
            params["max_output_tokens"] = budget
    return params


def trimmed_messages(run: RunState, call: LlmCall) -> list[Any] | None:
    """The messages that fit the input budget: all system messages, the last other one, and as many of the
    newest before it as fit. Without a budget, or if all fit, they are as given."""
    messages = call.messages
    budget = call.max_input_tokens or positive_int(limits_of(run).get("max_input_tokens"))
    if messages is None or budget is None or boolish(runtime_of(run).get("disable_input_trimming")):
        return messages
    try:
        return _fitting(messages, budget, _estimator(call.model))
    except Exception:  # an estimate must not fail a call
        logger.warning("messages of run %s could not be trimmed", run.run_id, exc_info=True)
        return messages


def _fitting(messages: Sequence[Any], budget: int, tokens_of: Callable[[Any], int]) -> list[Any]:
    costs = [tokens_of(message) for message in messages]
    if sum(costs) <= budget:
        return list(messages)
    system = [index for index, message in enumerate(messages) if _is_system(message)]
    others = [index for index, message in enumerate(messages) if not _is_system(message)]
    left = budget - sum(costs[index] for index in [*system, *others[-1:]])
    kept = others[-1:]
    for index in reversed(others[:-1]):
        left -= costs[index]
        if left < 0:
            break
        kept.insert(0, index)
    return [messages[index] for index in [*system, *kept]]


def _is_system(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "system"


def _estimator(model: str | None) -> Callable[[Any], int]:
    estimate: Callable[[str, str | None], int] | None
    try:
        from abstractcore.utils.token_utils import TokenUtils

        estimate = TokenUtils.estimate_tokens
    except Exception:  # not installed, or not able to load what it needs
        estimate = None

    def tokens_of(message: Any) -> int:
        text = str(message)
        if isinstance(message, dict):
            text = f"{message.get('role')}: {message.get('content')}"
        if estimate is not None:
            try:
                return int(estimate(text, model))
            except Exception:
                logger.debug("no estimate for model %s", model, exc_info=True)
        return max(1, len(text) // _CHARS_PER_TOKEN)

    return tokens_of
