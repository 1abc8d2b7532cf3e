"""A host's effect handlers with what each brings, looked up once for all the steps that a driver takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .handler_parts import (
    OnCommitted,
    OnCompleted,
    PayloadTransformer,
    on_committed_of,
    on_completed_of,
    transformer_for,
)
from .hooks import Hooks
from .models import EffectType
from .outcome import BoundHandler

__all__ = ["HandlerSet", "WholeHandler"]


@dataclass(slots=True)
class WholeHandler:
    """The handler of one kind of effect and its parts (see `handler_parts`).

    Attributes:
        call: ``None`` where the host has none: the effect is a built-in one, or unknown.
        transform: changes the payload before anybody else sees it.
        on_completed, on_committed: ``None`` if it brings none.
    """

    call: BoundHandler | None
    transform: PayloadTransformer | None
    on_completed: OnCompleted | None
    on_committed: OnCommitted | None


class HandlerSet(dict[EffectType, WholeHandler]):
    """`WholeHandler` by kind of effect, made when one is first asked for. Every kind has one."""

    def __init__(self, handlers: Mapping[EffectType, BoundHandler], hooks: Hooks) -> None:
        super().__init__()
        self._handlers = handlers
        self._hooks = hooks

    def __missing__(self, kind: EffectType) -> WholeHandler:
        handler, hooks = self._handlers.get(kind), self._hooks
        whole = self[kind] = WholeHandler(
            handler,
            transformer_for(kind, handler, hooks.grounding, hooks.payload_transformers),
            on_completed_of(handler),
            on_committed_of(handler),
        )
        return whole
