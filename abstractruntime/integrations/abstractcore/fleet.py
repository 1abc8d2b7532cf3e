"""LLM and tool calls on a fleet: an `App` declares them once, and its effect workers carry them out.

    app = App(workflows=[agent])
    declare_effects(
        app,
        llm=lambda: MultiLocalAbstractCoreLLMClient(provider="openai", model="gpt-4o"),
        tools=lambda: MappingToolExecutor.from_tools([look_up, pay]),
        llm_limits=[per_provider(concurrency=8, default="openai")],
    )

Clients and executors are made by functions, in the worker process that first needs them: importing the App,
as web backends and beat do, opens nothing, and keys and passwords are read from the environment of effect
workers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any, cast

from abstractruntime.app import App
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.handler_parts import carry_parts
from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.core.outcome import EffectHandler, EffectOutcome
from abstractruntime.limits import KeyValue, Limit, Rate

from ._interruptible import CallAbandonedError, call_while_wanted
from .effect_handlers import build_effect_handlers

if TYPE_CHECKING:
    from abstractruntime.storage.artifact_base import ArtifactStore

    from .llm_client import AbstractCoreLLMClient
    from .tool_executor import ToolExecutor

__all__ = ["declare_effects", "per_provider"]


def declare_effects(
    app: App,
    *,
    llm: Callable[[], AbstractCoreLLMClient],
    tools: Callable[[], ToolExecutor] | None = None,
    llm_limits: Iterable[Limit] = (),
    tool_limits: Iterable[Limit] = (),
    llm_lease_s: float | None = None,
    tool_lease_s: float | None = None,
) -> None:
    """Let the App's effect workers carry out LLM_CALL and TOOL_CALLS.

    Each call has a lease that is kept alive while it runs, an idempotency key
    (``current_effect().idempotency_key``; HTTP requests of clients carry it), and is tried again as the App's
    policy says (`RetryPolicy`), as a timer. Cancelling the run ends the wait for a call under way.

    Args:
        llm: makes the client, once per worker process.
        tools: makes the executor, once per worker process; without one, TOOL_CALLS fail and say so.
        llm_limits, tool_limits: how many may run at once or begin per time, see `per_provider` and `Limit`.
        llm_lease_s, tool_lease_s: seconds without a heartbeat after which another worker takes a call over;
            default: the deployment's setting.

    Raises:
        AppError: a limit is not one, or two have the same name.
    """
    store = _Late(lambda: current_effect().artifacts)
    handlers = build_effect_handlers(
        llm=cast("AbstractCoreLLMClient", _Late(llm)),
        tools=None if tools is None else cast("ToolExecutor", _Late(tools)),
        artifact_store=cast("ArtifactStore", store),
    )
    declared = (
        (EffectType.LLM_CALL, llm_lease_s, llm_limits),
        (EffectType.TOOL_CALLS, tool_lease_s, tool_limits),
    )
    for kind, lease_s, limits in declared:
        app.effect(kind, lease_s=lease_s, limits=limits)(_interruptible(handlers[kind]))


class _Late:
    """Stands for an object that is made in this process when it is first used."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._lock = Lock()
        self._made: list[object] = []

    def __getattr__(self, name: str) -> Any:
        with self._lock:  # one object per process, however many effects begin at once
            if not self._made:
                self._made.append(self._make())
        return getattr(self._made[0], name)


def _interruptible(handler: EffectHandler) -> EffectHandler:
    """The handler, left when its run is cancelled or its effect taken over."""

    def handle(run: RunState, effect: Effect, default_next_node: str | None) -> EffectOutcome:
        try:
            return call_while_wanted(
                lambda: handler(run, effect, default_next_node),
                current_effect().cancelled,
                name=f"{effect.type.value} of run {run.run_id}",
            )
        except CallAbandonedError as exc:
            return EffectOutcome.failed(str(exc), kind="cancelled")

    carry_parts(handler, handle)
    return handle


def per_provider(
    *, concurrency: int | None = None, rate: Rate | None = None, default: str = "default"
) -> Limit:
    """A limit of LLM calls for each provider: of the payload's ``provider``, or ``default`` without one.

    Raises:
        AppError: neither ``concurrency`` nor ``rate``, or a value out of range.
    """

    def provider(run: RunState, effect: Effect) -> KeyValue:
        named = effect.payload.get("provider")
        return named.strip().lower() if isinstance(named, str) and named.strip() else default

    return Limit("provider", provider, concurrency, rate)
