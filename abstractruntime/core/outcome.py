"""What an effect handler answers, and how a host's handler is called (`spec/01 §8.3`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .effect_context import EffectContext, attempt_under_way
from .handler_parts import carry_parts
from .making import setters, wholly_frozen
from .models import Effect, RunState, WaitState

__all__ = ["BoundHandler", "EffectHandler", "EffectOutcome", "bind_handler", "failed_effect", "invoke"]


@wholly_frozen
@dataclass(frozen=True, init=False, slots=True)  # see `Effect` for why
class EffectOutcome:
    """How an effect ended: ``completed`` (result), ``waiting`` (wait) or ``failed`` (error).

    ``kind`` may classify a failure for programs, for example ``validation`` or ``timeout``; its ledger record
    has it as ``result["error_kind"]`` (`spec/04 §16.29`).
    """

    status: str
    result: dict[str, Any] | None = None
    wait: WaitState | None = None
    error: str | None = None
    kind: str | None = field(default=None, compare=False)

    def __init__(
        self,
        status: str,
        result: dict[str, Any] | None = None,
        wait: WaitState | None = None,
        error: str | None = None,
        kind: str | None = None,
    ) -> None:
        _set_status(self, status)
        _set_result(self, result)
        _set_wait(self, wait)
        _set_error(self, error)
        _set_kind(self, kind)

    @classmethod
    def completed(cls, result: dict[str, Any] | None = None) -> EffectOutcome:
        """The effect is done."""
        return cls("completed", result)

    @classmethod
    def waiting(cls, wait: WaitState) -> EffectOutcome:
        """The run parks until ``wait`` is resumed."""
        return cls(status="waiting", wait=wait)

    @classmethod
    def failed(cls, error: str, *, kind: str | None = None) -> EffectOutcome:
        """The effect did not succeed; the policy decides about another attempt."""
        return cls(status="failed", error=error, kind=kind)


_set_status, _set_result, _set_wait, _set_error, _set_kind = setters(
    EffectOutcome, "status", "result", "wait", "error", "kind"
)


def failed_effect(attempts: int, last_error: str | None) -> str:
    """The error of an effect whose attempts are used up, in the run and in its trace (`spec/01 §5.6`)."""
    return f"Effect failed after {attempts} attempts: {last_error or 'unknown error'}"


EffectHandler = Callable[..., EffectOutcome]
"""``handler(run, effect, default_next_node)`` or ``handler(run, effect)``; any callable object works."""

BoundHandler = Callable[[RunState, Effect, "str | None"], EffectOutcome]
"""A handler that certainly takes three positional arguments."""


def bind_handler(handler: EffectHandler) -> BoundHandler:
    """Adapt a handler of two or three positional parameters; only positional ones count.

    A callable without a readable signature (some C functions) is called with three arguments.
    """
    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return _without_signature(handler)
    kinds = [parameter.kind for parameter in parameters]
    positional = sum(
        kind in (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD) for kind in kinds
    )
    if inspect.Parameter.VAR_POSITIONAL in kinds or positional >= 3:
        return handler

    def of_three(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        return handler(run, effect)

    carry_parts(handler, of_three)
    return of_three


def _without_signature(handler: EffectHandler) -> BoundHandler:
    def call(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        try:
            return handler(run, effect, default_next)
        except TypeError as exc:
            if not _is_arity_mismatch(exc):
                raise
            return handler(run, effect)

    carry_parts(handler, call)
    return call


def _is_arity_mismatch(exc: TypeError) -> bool:
    """Whether the call itself was refused, so that the handler has not run.

    No frame below ours, and a complaint about arguments: a handler written in C has no frame of its own, so
    its own TypeErrors can only be told by their text.
    """
    refused_at_once = exc.__traceback__ is not None and exc.__traceback__.tb_next is None
    return refused_at_once and "argument" in str(exc)


_enter, _leave = attempt_under_way.set, attempt_under_way.reset


def invoke(
    handler: BoundHandler,
    run: RunState,
    effect: Effect,
    default_next: str | None,
    context: EffectContext | None = None,
) -> EffectOutcome:
    """Call a handler exactly once; whatever it does becomes a well-formed outcome (`spec/01 §5.6`).

    ``context``: what `current_effect` tells it meanwhile; built-in effects need none.
    """
    token = None if context is None else _enter(context)
    try:
        outcome = handler(run, effect, default_next)
    except Exception as exc:
        return EffectOutcome.failed(f"Effect handler raised exception: {exc}")
    finally:
        if token is not None:
            _leave(token)
    if type(outcome) is EffectOutcome and outcome.status == "completed":
        return outcome  # nearly always
    return _well_formed(outcome)


def _well_formed(outcome: object) -> EffectOutcome:
    """Objects with the fields of an `EffectOutcome` are accepted; an unknown status is a failure."""
    status = getattr(outcome, "status", None)
    if status is None:
        return EffectOutcome.failed(
            f"Effect handler returned {type(outcome).__name__} instead of an EffectOutcome; "
            "return EffectOutcome.completed(...), .waiting(...) or .failed(...)"
        )
    if status == "completed":
        return EffectOutcome.completed(getattr(outcome, "result", None))
    if status != "waiting":
        return EffectOutcome.failed(
            getattr(outcome, "error", None) or "unknown error", kind=getattr(outcome, "kind", None)
        )
    wait = getattr(outcome, "wait", None)
    if not isinstance(wait, WaitState):
        return EffectOutcome.failed("Effect handler returned a waiting outcome without a WaitState")
    return EffectOutcome.waiting(wait)
