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
from typing import TYPE_CHECKING

from abstractruntime.app import App
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.limits import KeyValue, Limit, Rate

from ._interruptible import CallAbandonedError, call_while_wanted
from .effect_handlers import build_effect_handlers

if TYPE_CHECKING:
    from .llm_client import AbstractCoreLLMClient
    from .tool_executor import ToolExecutor

__all__ = ["declare_effects", "per_provider"]

Handler = Callable[[RunState, Effect, "str | None"], EffectOutcome]


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
        tools: makes the executor, once per worker process; without one, only runtime-owned tools
            (``open_attachment``) can be called.
        llm_limits, tool_limits: how many may run at once or begin per time, see `per_provider` and `Limit`.
        llm_lease_s, tool_lease_s: seconds without a heartbeat after which another worker takes a call over;
            default: the deployment's setting.

    Raises:
        AppError: a limit is not one, or two have the same name.
    """
    opened = _Opened(llm, tools)
    app.effect(EffectType.LLM_CALL, lease_s=llm_lease_s, limits=llm_limits)(opened.handler(EffectType.LLM_CALL))
    app.effect(EffectType.TOOL_CALLS, lease_s=tool_lease_s, limits=tool_limits)(
        opened.handler(EffectType.TOOL_CALLS)
    )


class _Opened:
    """The handlers of one worker process, made when it first carries out an effect."""

    def __init__(
        self, llm: Callable[[], AbstractCoreLLMClient], tools: Callable[[], ToolExecutor] | None
    ) -> None:
        self._make_llm = llm
        self._make_tools = tools
        self._lock = Lock()
        self._handlers: dict[EffectType, Handler] = {}

    def handler(self, kind: EffectType) -> Handler:
        """The handler to declare for ``kind``."""

        def handle(run: RunState, effect: Effect, default_next_node: str | None) -> EffectOutcome:
            carry_out = self._opened()[kind]
            try:
                return call_while_wanted(
                    lambda: carry_out(run, effect, default_next_node),
                    current_effect().cancelled,
                    name=f"{kind.value} of run {run.run_id}",
                )
            except CallAbandonedError as exc:
                return EffectOutcome.failed(str(exc))

        return handle

    def _opened(self) -> dict[EffectType, Handler]:
        with self._lock:
            if not self._handlers:
                self._handlers = build_effect_handlers(
                    llm=self._make_llm(),
                    tools=None if self._make_tools is None else self._make_tools(),
                    artifact_store=current_effect().artifacts,
                )
            return self._handlers


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
