"""What a node asks for with ``LLM_CALL`` (`spec/04 §6.1`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..flags import boolish

__all__ = ["LlmCall", "as_text", "first_given", "positive_int", "read_llm_call"]

Payload = Mapping[str, Any]

_DEFAULT_ATTEMPTS = 3
_MIN_CAP = 256


@dataclass(frozen=True, slots=True)
class LlmCall:
    """The payload of one ``LLM_CALL``, read once.

    Attributes:
        prompt: trimmed; ``""`` when absent or blank.
        messages: a non-empty list, else ``None``.
        system_prompt: passed through.
        media: as given.
        provider, model: trimmed; ``None`` = the client's own.
        tools: a non-empty list of tool specs, else ``None``.
        response_schema: as given.
        schema_name: of the model made of it.
        is_strict: a structured result that does not match its schema fails the effect.
        may_fall_back: after a failed structured call, ask again without structure.
        params: a copy of the caller's.
        include_context: append the turn to the active context.
        max_input_tokens, max_output_tokens: ``None`` = not given.
        output_cap: largest budget of a retry after truncation; at least 256 tokens.
        retries_truncation: ask again with a larger budget when the answer was cut.
        accepts_truncation: take a cut answer as it is.
        max_attempts: calls in all, at least 1.
    """

    prompt: str
    messages: list[Any] | None
    system_prompt: Any
    media: Any
    provider: str | None
    model: str | None
    tools: list[Any] | None
    response_schema: Any
    schema_name: str
    is_strict: bool
    may_fall_back: bool
    params: dict[str, Any]
    include_context: bool
    max_input_tokens: int | None
    max_output_tokens: int | None
    output_cap: int | None
    retries_truncation: bool
    accepts_truncation: bool
    max_attempts: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to ask."""
        return not self.prompt and self.messages is None


def read_llm_call(payload: object) -> LlmCall:
    """Read a payload; what can't be used counts as absent, as each key's row of `spec/04 §6.1` says."""
    given: Payload = payload if isinstance(payload, Mapping) else {}
    params = given.get("params")
    cap = positive_int(first_given(given, "max_output_tokens_cap", "max_truncation_max_output_tokens"))
    attempts = first_given(given, "max_truncation_attempts", "truncation_max_attempts")
    retries = first_given(given, "retry_on_truncation", "no_truncation")
    return LlmCall(
        prompt=as_text(given.get("prompt")) or "",
        messages=_filled_list(given.get("messages")),
        system_prompt=given.get("system_prompt"),
        media=given.get("media"),
        provider=as_text(given.get("provider")),
        model=as_text(given.get("model")),
        tools=_filled_list(given.get("tools")),
        response_schema=given.get("response_schema"),
        schema_name=as_text(given.get("response_schema_name")) or "StructuredOutput",
        is_strict=boolish(given.get("structured_output_strict")),
        may_fall_back=boolish(given.get("structured_output_fallback")),
        params=dict(params) if isinstance(params, Mapping) else {},
        include_context=wants_context(given),
        max_input_tokens=positive_int(given.get("max_input_tokens")),
        max_output_tokens=positive_int(first_given(given, "max_output_tokens", "max_out_tokens")),
        output_cap=None if cap is None else max(_MIN_CAP, cap),
        retries_truncation=True if retries is None else boolish(retries),
        accepts_truncation=boolish(first_given(given, "allow_truncation", "allow_truncated")),
        max_attempts=positive_int(attempts) or (_DEFAULT_ATTEMPTS if attempts is None else 1),
    )


def wants_context(payload: Payload) -> bool:
    """Whether the turn becomes part of the active context."""
    return boolish(first_given(payload, "include_context", "use_context"))


def first_given(values: Payload, *names: str) -> Any:
    """The first of the named values that is there and not ``None``."""
    return next((values[name] for name in names if values.get(name) is not None), None)


def positive_int(value: object) -> int | None:
    """A whole number above 0, also written as text; everything else is ``None``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
    elif not isinstance(value, (int, float)):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if number > 0 else None


def as_text(value: object) -> str | None:
    """Trimmed text, ``None`` for blank; numbers are written out, other things are no text."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    return str(value).strip() or None


def _filled_list(value: object) -> list[Any] | None:
    return list(value) if isinstance(value, list) and value else None
