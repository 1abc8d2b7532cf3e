"""What an effect handler may know about the attempt it carries out.

Handlers take ``(run, effect)``; everything else is here, per thread of execution, so that their signature
stays the contract's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from .handler_parts import OnCompleted

__all__ = ["EffectContext", "attempt_under_way", "carrying_out", "current_effect", "effect_under_way"]


def _never() -> bool:
    return False


@dataclass(frozen=True, init=False)  # see `models.Effect` for why
class EffectContext:
    """The attempt a handler carries out.

    Attributes:
        run_id: whose effect it is.
        idempotency_key: send it along: the outside can recognise a repeated call by it.
        attempt: 1-based.
        cancelled: asks whether the result is not wanted any more (the run was cancelled, or another
            worker took the effect over); a long handler should look now and then and return.
        open_artifacts: opens the driver's artifact store, see `artifacts`; ``None`` if it has none.
        on_completed: what the driver calls when it applies the outcome (see `handler_parts`); a handler
            whose own that is leaves its changes of ``run.vars`` to it.
    """

    run_id: str
    idempotency_key: str
    attempt: int = 1
    cancelled: Callable[[], bool] = _never
    open_artifacts: Callable[[], Any] | None = None
    on_completed: OnCompleted | None = None

    def __init__(
        self,
        run_id: str,
        idempotency_key: str,
        attempt: int = 1,
        cancelled: Callable[[], bool] = _never,
        open_artifacts: Callable[[], Any] | None = None,
        on_completed: OnCompleted | None = None,
    ) -> None:
        own = self.__dict__
        own["run_id"] = run_id
        own["idempotency_key"] = idempotency_key
        own["attempt"] = attempt
        own["cancelled"] = cancelled
        own["open_artifacts"] = open_artifacts
        own["on_completed"] = on_completed

    @property
    def artifacts(self) -> Any:
        """Where large payloads live: an `abstractruntime.storage.artifacts.ArtifactStore`.

        Raises:
            RuntimeError: the driver has none.
        """
        if self.open_artifacts is None:
            raise RuntimeError("There is no artifact store here: give the Runtime or the App one")
        return self.open_artifacts()


attempt_under_way: ContextVar[EffectContext | None] = ContextVar("abstractruntime_effect", default=None)
"""Set by `outcome.invoke` around a handler, by `carrying_out` around what else belongs to its attempt."""


def effect_under_way() -> EffectContext | None:
    """The attempt the caller is a part of, ``None`` outside of effect handlers."""
    return attempt_under_way.get()


def current_effect() -> EffectContext:
    """The attempt the calling handler carries out.

    Raises:
        RuntimeError: called outside an effect handler.
    """
    context = attempt_under_way.get()
    if context is None:
        raise RuntimeError("current_effect() is only known inside an effect handler")
    return context


@contextmanager
def carrying_out(context: EffectContext) -> Iterator[None]:
    """Make ``context`` the current one, also for tests of handlers and tools."""
    token = attempt_under_way.set(context)
    try:
        yield
    finally:
        attempt_under_way.reset(token)
