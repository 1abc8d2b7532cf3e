"""Answers that the output budget cut: asked for again with a larger one (`spec/04 §6.10`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import RunState

from .budgets import output_budget
from .errors import CancelledError, TruncatedError
from .payload import LlmCall, positive_int
from .run_settings import limits_of

__all__ = ["Answer", "Ask", "Reply", "is_truncated", "whole_answer"]

logger = logging.getLogger(__name__)

_REASONS = frozenset({"length", "max_tokens", "max_output_tokens"})
_UNKNOWN_BUDGET = 2048
_STEP = 500
_NO_CAP = 1_000_000
_SHOWN_BUDGETS = 6

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """What one call came to: ``params`` as they were sent, ``is_fallback`` if without structure."""

    result: dict[str, Any]
    params: Params
    is_fallback: bool = False


Ask = Callable[[Params], Reply]
"""``ask(params)`` makes one call."""


@dataclass(slots=True)
class Answer:
    """The final result, the params it was asked with, and what each call came to."""

    result: dict[str, Any]
    params: Params
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_noteworthy(self) -> bool:
        """Whether truncation occurred at all."""
        return len(self.attempts) > 1 or is_truncated(self.result)


def is_truncated(result: dict[str, Any]) -> bool:
    """Whether the budget ended the answer."""
    return str(result.get("finish_reason") or "").strip().lower() in _REASONS


def whole_answer(ask: Ask, params: Params, call: LlmCall, run: RunState, llm: Any) -> Answer:
    """Ask until the answer is whole.

    Raises:
        TruncatedError: it is still cut.
        CancelledError: the run was cancelled between two calls.
        Exception: whatever the client raises.
    """
    attempts: list[dict[str, Any]] = []
    cap: int | None = None
    while True:
        reply = ask(params)
        result = reply.result
        attempts.append(_attempt(len(attempts) + 1, reply))
        if not is_truncated(result) or call.accepts_truncation:
            return Answer(result, reply.params, attempts)
        cap = _cap(call, run, llm) if cap is None else cap
        budget = _next_budget(params, run, cap)
        if not call.retries_truncation or len(attempts) >= call.max_attempts or budget is None:
            raise TruncatedError(_complaint(result, attempts))
        if _is_unwanted():
            raise CancelledError("LLM_CALL was cancelled before its truncated answer was asked for again")
        params = {name: value for name, value in params.items() if name != "max_tokens"}
        params["max_output_tokens"] = budget


def _attempt(number: int, reply: Reply) -> dict[str, Any]:
    return {
        "attempt": number,
        "finish_reason": reply.result.get("finish_reason"),
        "max_output_tokens": output_budget(reply.params),
        "structured_fallback": reply.is_fallback,
    }


def _next_budget(params: Params, run: RunState, cap: int) -> int | None:
    """A larger budget, ``None`` if there is none: the same call again would be cut again."""
    limit = positive_int(limits_of(run).get("max_output_tokens"))
    current = output_budget(params) or limit
    grown = min(max(2 * (current or _UNKNOWN_BUDGET), (current or _UNKNOWN_BUDGET) + _STEP), cap)
    return grown if current is None or grown > current else None


def _cap(call: LlmCall, run: RunState, llm: Any) -> int:
    limit = call.output_cap or positive_int(limits_of(run).get("max_output_tokens"))
    return limit or _capability(llm) or _NO_CAP


def _capability(llm: Any) -> int | None:
    ask = getattr(llm, "get_model_capabilities", None)
    if not callable(ask):
        return None
    try:
        known = ask()
    except Exception:  # a client that can't tell has no cap
        logger.info("the client's capabilities can't be had; its answers have no cap", exc_info=True)
        return None
    if not isinstance(known, dict):
        return None
    return positive_int(known.get("max_output_tokens")) or positive_int(known.get("max_tokens"))


def _is_unwanted() -> bool:
    try:
        return current_effect().cancelled()
    except RuntimeError:  # called by hand, not by a driver
        return False


def _complaint(result: dict[str, Any], attempts: list[dict[str, Any]]) -> str:
    budgets = [attempt["max_output_tokens"] for attempt in attempts]
    tried = ", ".join("default" if budget is None else str(budget) for budget in budgets[:_SHOWN_BUDGETS])
    return (
        f"LLM_CALL output was truncated (finish_reason={result.get('finish_reason')}). "
        f"Attempted max_output_tokens: {tried}. "
        "Increase max_output_tokens/max_out_tokens (or set allow_truncation=true)."
    )
