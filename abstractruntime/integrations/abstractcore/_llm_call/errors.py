"""Why an LLM call can't be made or has failed, for people and for programs (`spec/04 §6.2`, §16.29)."""

from __future__ import annotations

from collections.abc import Iterator

from abstractruntime.core.errors import InvalidInputError, RuntimeFault

from .._clients.streams import GenerationCancelledError

__all__ = [
    "CancelledError",
    "FailureKind",
    "LlmCallError",
    "MediaError",
    "PolicyError",
    "SchemaError",
    "TruncatedError",
    "causes",
    "client_failure_kind",
]

FailureKind = str
"""``validation``, ``truncated``, ``provider``, ``timeout``, ``policy`` or ``cancelled``."""


class LlmCallError(RuntimeFault):
    """The effect fails with this text; ``kind`` classifies it."""

    kind: FailureKind = "provider"

    def __init__(self, message: str, *, kind: FailureKind | None = None) -> None:
        super().__init__(message)
        if kind is not None:
            self.kind = kind


class MediaError(LlmCallError, InvalidInputError):
    """A media item can't be used."""

    kind = "validation"


class SchemaError(LlmCallError, InvalidInputError):
    """The response schema can't be used, or the answer does not match it."""

    kind = "validation"


class PolicyError(LlmCallError):
    """The run may not send this."""

    kind = "policy"


class TruncatedError(LlmCallError):
    """The answer is still cut after all attempts."""

    kind = "truncated"


class CancelledError(LlmCallError):
    """Nobody wants the answer any more."""

    kind = "cancelled"


def causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what led to it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def client_failure_kind(error: BaseException) -> FailureKind:
    """What kind of failure an exception of an LLM client is."""
    if "output was truncated" in str(error):
        return "truncated"
    for cause in causes(error):
        if isinstance(cause, GenerationCancelledError):
            return "cancelled"
        if isinstance(cause, TimeoutError) or "Timeout" in type(cause).__name__:
            return "timeout"
        if type(cause).__name__ in ("ValidationError", "JSONDecodeError"):
            return "validation"
    return "provider"
