"""Reading and changing the limits of a run (`spec/01 §9.9`): pure functions over ``run.vars``.

Limits are advisory: nothing here stops a run, and nothing in the kernel counts iterations. A ``_limits`` that
is missing or not an object counts as empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .models import LimitWarning, RunState
from .vars import LIMITS, default_limits

__all__ = ["UPDATABLE_LIMITS", "apply_limit_updates", "check_limits", "limit_status"]

_DEFAULTS = default_limits()

UPDATABLE_LIMITS = frozenset(_DEFAULTS)
"""The names that `apply_limit_updates` accepts."""


def limit_status(vars: Mapping[str, Any]) -> dict[str, Any]:
    """Counters, maxima and percentages (one decimal) under ``iterations``, ``tokens`` and ``history``.

    Missing, zero and unreadable values are shown as their defaults, except the warning thresholds: a stored
    threshold of 0 means "always warn" here (and the default in `check_limits`).
    """
    limits = _read(vars)
    iterations, max_iterations = _number(limits, "current_iteration"), _number(limits, "max_iterations")
    tokens, max_tokens = _number(limits, "estimated_tokens_used"), _number(limits, "max_tokens")
    iterations_pct = round(_percent(iterations, max_iterations), 1)
    tokens_pct = round(_percent(tokens, max_tokens), 1)
    return {
        "iterations": {
            "current": iterations,
            "max": max_iterations,
            "pct": iterations_pct,
            "warning": iterations_pct >= _threshold(limits, "warn_iterations_pct"),
        },
        "tokens": {
            "estimated_used": tokens,
            "max": max_tokens,
            "max_input_tokens": limits.get("max_input_tokens"),
            "max_output_tokens": limits.get("max_output_tokens"),
            "pct": tokens_pct,
            "warning": tokens_pct >= _threshold(limits, "warn_tokens_pct"),
        },
        "history": {"max_messages": _number(limits, "max_history_messages")},
    }


def check_limits(run: RunState) -> list[LimitWarning]:
    """The limits of ``run`` that are reached or close: iterations first, then tokens (never history).

    Tokens count only once some were used. A maximum or threshold of 0 means the default.
    """
    limits = _read(run.vars)
    warnings = [
        _judge(limits, "iterations", "current_iteration", "max_iterations", "warn_iterations_pct"),
    ]
    if _number(limits, "estimated_tokens_used") > 0:
        warnings.append(_judge(limits, "tokens", "estimated_tokens_used", "max_tokens", "warn_tokens_pct"))
    return [warning for warning in warnings if warning is not None]


def apply_limit_updates(vars: dict[str, Any], updates: Mapping[str, Any]) -> None:
    """Set the known limits among ``updates`` in ``vars["_limits"]``, in place; other names are ignored.

    Values are not checked (`spec/01 §9.9`). A ``_limits`` that is not an object is replaced.
    """
    limits = vars.get(LIMITS)
    if not isinstance(limits, dict):
        limits = vars[LIMITS] = {}
    limits.update((name, value) for name, value in updates.items() if name in UPDATABLE_LIMITS)


def _read(vars: Mapping[str, Any]) -> Mapping[str, Any]:
    limits = vars.get(LIMITS)
    return limits if isinstance(limits, dict) else {}


def _judge(
    limits: Mapping[str, Any], limit_type: str, current_key: str, maximum_key: str, threshold_key: str
) -> LimitWarning | None:
    current, maximum = _number(limits, current_key), _number(limits, maximum_key)
    if current >= maximum:
        return LimitWarning(limit_type, "exceeded", current, maximum)
    if _percent(current, maximum) >= _number(limits, threshold_key):
        return LimitWarning(limit_type, "warning", current, maximum)
    return None


def _number(limits: Mapping[str, Any], name: str) -> int:
    """The stored number; its default when missing, zero or not readable as one."""
    try:
        stored = int(limits.get(name) or 0)
    except (TypeError, ValueError, OverflowError):
        stored = 0
    default: int = _DEFAULTS[name]
    return stored or default


def _threshold(limits: Mapping[str, Any], name: str) -> float:
    stored = limits.get(name)
    return stored if isinstance(stored, (int, float)) else float(_DEFAULTS[name])


def _percent(current: int, maximum: int) -> float:
    return current / maximum * 100 if maximum > 0 else 0.0
