"""What an effect handler may know about the attempt it carries out.

Handlers take ``(run, effect)``; everything else is here, per thread of execution, so that their signature
stays the contract's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

__all__ = ["EffectContext", "carry_out", "current_effect"]

P = ParamSpec("P")
T = TypeVar("T")


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
    """

    run_id: str
    idempotency_key: str
    attempt: int = 1
    cancelled: Callable[[], bool] = _never
    open_artifacts: Callable[[], Any] | None = None

    def __init__(
        self,
        run_id: str,
        idempotency_key: str,
        attempt: int = 1,
        cancelled: Callable[[], bool] = _never,
        open_artifacts: Callable[[], Any] | None = None,
    ) -> None:
        own = self.__dict__
        own["run_id"] = run_id
        own["idempotency_key"] = idempotency_key
        own["attempt"] = attempt
        own["cancelled"] = cancelled
        own["open_artifacts"] = open_artifacts

    @property
    def artifacts(self) -> Any:
        """Where large payloads live: an `abstractruntime.storage.artifacts.ArtifactStore`.

        Raises:
            RuntimeError: the driver has none.
        """
        if self.open_artifacts is None:
            raise RuntimeError("There is no artifact store here: give the Runtime or the App one")
        return self.open_artifacts()


_current: ContextVar[EffectContext | None] = ContextVar("abstractruntime_effect", default=None)


def current_effect() -> EffectContext:
    """The attempt the calling handler carries out.

    Raises:
        RuntimeError: called outside an effect handler.
    """
    context = _current.get()
    if context is None:
        raise RuntimeError("current_effect() is only known inside an effect handler")
    return context


def carry_out(context: EffectContext, call: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """``call(...)`` with ``context`` as the current one; drivers call handlers through it."""
    token = _current.set(context)
    try:
        return call(*args, **kwargs)
    finally:
        _current.reset(token)
