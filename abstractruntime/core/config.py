"""The settings that a runtime gives each run it starts (`spec/01 §4`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import InvalidInputError
from .vars import default_limits

__all__ = ["DEFAULT_RECOMMENDED_MAX_INPUT_TOKENS", "RuntimeConfig"]

DEFAULT_RECOMMENDED_MAX_INPUT_TOKENS = -1
"""-1: no recommendation; the model's own window decides."""

_INPUT_SAFETY_MARGIN = 256
"""Tokens left free between input and output, for what providers add around the messages."""


@dataclass(frozen=True)
class RuntimeConfig:
    """Limits and default routing of a runtime.

    Attributes:
        max_iterations: advisory bound on agent iterations.
        warn_iterations_pct: percentage of ``max_iterations`` from which a warning is given.
        max_tokens: context window in tokens; ``None`` takes it from ``model_capabilities``.
        max_output_tokens: tokens of one answer; ``None`` takes it from ``model_capabilities``, else leaves it
            to the provider.
        max_input_tokens: tokens of one prompt; ``None`` sets no bound.
        warn_tokens_pct: percentage of ``max_tokens`` from which a warning is given.
        max_history_messages: messages of history sent along; -1 is all of them.
        provider, model: default routing metadata for new runs.
        model_capabilities: what is known of the model; ``max_tokens``, ``max_output_tokens`` and
            ``tool_support`` are read.
        max_subworkflow_depth: how many ancestors a run may have (a root run has 0); a start beyond that
            fails instead of recursing for ever. Not part of the limits stored in a run. Ours, not in the
            published package (`spec/01 §19`, row 8).
        max_vars_query_chars: the longest text VARS_QUERY answers with; asked for more, it names the way to
            ask for less. Ours too (row 17).
        max_subworkflow_steps: how many node executions a child takes inside its parent's effect until it has
            waited or ended; one that would go on is ended FAILED, and the effect fails. Ours, instead of the
            published package's 100 (row 7). A fleet's children take their steps by themselves, so there it
            bounds nothing.

    Raises:
        InvalidInputError: ``max_subworkflow_depth`` or ``max_vars_query_chars`` is negative, or
            ``max_subworkflow_steps`` is less than 1.
    """

    max_iterations: int = 25
    warn_iterations_pct: int = 80
    max_tokens: int | None = None
    max_output_tokens: int | None = None
    max_input_tokens: int | None = None
    warn_tokens_pct: int = 80
    max_history_messages: int = -1
    provider: str | None = None
    model: str | None = None
    model_capabilities: dict[str, Any] = field(default_factory=dict)
    max_subworkflow_depth: int = 50
    max_vars_query_chars: int = 1_000_000
    max_subworkflow_steps: int = 100_000

    def __post_init__(self) -> None:
        if self.max_subworkflow_depth < 0:
            raise InvalidInputError(
                f"RuntimeConfig.max_subworkflow_depth is {self.max_subworkflow_depth}; "
                "use 0 (no subworkflows) or more"
            )
        if self.max_vars_query_chars < 0:
            raise InvalidInputError(
                f"RuntimeConfig.max_vars_query_chars is {self.max_vars_query_chars}; use 0 or more"
            )
        if self.max_subworkflow_steps < 1:
            raise InvalidInputError(
                f"RuntimeConfig.max_subworkflow_steps is {self.max_subworkflow_steps}; use 1 or more"
            )

    def to_limits_dict(self) -> dict[str, Any]:
        """The nine entries a new run finds in ``vars["_limits"]`` (`spec/01 §4.1`)."""
        limits = default_limits()
        window = self._field_or_capability("max_tokens")
        output = self._field_or_capability("max_output_tokens")
        limits.update(
            max_iterations=self.max_iterations,
            max_output_tokens=output,
            max_history_messages=self.max_history_messages,
            warn_iterations_pct=self.warn_iterations_pct,
            warn_tokens_pct=self.warn_tokens_pct,
        )
        if window is not None:
            limits["max_tokens"] = window
        limits["max_input_tokens"] = _bounded_input(
            self.max_input_tokens,
            window=_count(limits["max_tokens"], at_least=1),
            window_is_known=window is not None,
            output=_count(output, at_least=0),
        )
        return limits

    def with_capabilities(self, capabilities: Mapping[str, Any] | None) -> RuntimeConfig:
        """A copy that also knows ``capabilities``; where both know a key, the new value wins.

        The published package replaces them although it documents a merge; this merges (`spec/01 §4.2`).
        """
        return replace(self, model_capabilities={**(self.model_capabilities or {}), **(capabilities or {})})

    def _field_or_capability(self, name: str) -> Any:
        own = getattr(self, name)
        return own if own is not None else (self.model_capabilities or {}).get(name)


def _bounded_input(requested: Any, *, window: int | None, window_is_known: bool, output: int | None) -> Any:
    """``max_input_tokens`` such that prompt, margin and answer fit the context window.

    With the answer's size unknown only the window bounds the prompt, and only a window that somebody stated:
    cutting a caller's number down to the library's fallback window would be cutting it down to a guess.
    """
    if requested is None or window is None:
        return requested
    if output is not None:
        room = max(0, window - output - _INPUT_SAFETY_MARGIN)
        return max(0, min(_int_or(requested, room), room))
    return min(_int_or(requested, window), window) if window_is_known else requested


def _count(value: Any, *, at_least: int) -> int | None:
    """``value`` when it is a usable number of tokens, else ``None`` (not known)."""
    usable = isinstance(value, int) and not isinstance(value, bool) and value >= at_least
    return value if usable else None


def _int_or(value: Any, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return default
