"""What an effect handler may bring beside itself, as attributes of the callable.

``payload_transformer(run, payload) -> payload``: what handler, ledger and trace see instead of the payload
(`spec/01 §11.4`). The driver applies it after the idempotency key and before the STARTED record.

``on_completed(run, effect, result, key)``: changes ``run.vars`` as the recorded outcome says
(`spec/04 §16.4`). The driver calls it whenever it applies a completed outcome, fresh or taken from the
ledger, so a process that dies between ledger and checkpoint loses no change. It may be called again for the
same key, and must then change nothing.

``on_committed(run, effect, key)``: the completed outcome can't be lost any more, so what the handler kept for
another attempt can go (`spec/04 §16.6`). A process that dies before it calls it never will: it must not be
relied on. ``run`` is as it is stored; changes of it are lost.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal, get_args

from .extensions import lent
from .models import Effect, EffectType, RunState

__all__ = [
    "GROUNDING_CHOICES",
    "Grounding",
    "OnCommitted",
    "OnCompleted",
    "PayloadTransformer",
    "apply_completed",
    "carry_parts",
    "notify_committed",
    "on_committed_of",
    "on_completed_of",
    "transformer_for",
]

logger = logging.getLogger(__name__)

PayloadTransformer = Callable[[RunState, dict[str, Any]], dict[str, Any]]
"""``transform(run, payload)`` gives the payload that handler, ledger and trace see. ``payload`` is its own
copy; ``run`` must not be changed. What it raises is a failed attempt's error."""

OnCompleted = Callable[[RunState, Effect, "dict[str, Any] | None", str], None]
"""``on_completed(run, effect, result, key)``; ``result`` must not be changed."""

OnCommitted = Callable[[RunState, Effect, str], None]
"""``on_committed(run, effect, key)``; neither must be changed."""

Grounding = Literal["auto", "on", "off"]
GROUNDING_CHOICES: tuple[str, ...] = get_args(Grounding)

_TRANSFORMER = "payload_transformer"
_ON_COMPLETED = "on_completed"
_ON_COMMITTED = "on_committed"


def carry_parts(source: object, target: object) -> None:
    """``target`` stands for the handler ``source`` and brings what it brings."""
    for name in (_TRANSFORMER, _ON_COMPLETED, _ON_COMMITTED):
        part = _part(source, name)
        if part is not None:
            setattr(target, name, part)


def _part(handler: object, name: str) -> Any:
    """What the handler really brings: an object that makes up whatever it is asked for, such as a mock,
    brings nothing."""
    holder = getattr(handler, "__func__", handler)  # a bound method has the attributes of its function
    has_it = name in getattr(holder, "__dict__", ()) or hasattr(type(holder), name)
    return getattr(handler, name) if has_it else None


def on_completed_of(handler: object) -> OnCompleted | None:
    """The handler's ``on_completed``, if it brings one."""
    part: OnCompleted | None = _part(handler, _ON_COMPLETED)
    return part


def transformer_for(
    kind: EffectType,
    handler: object,
    grounding: Grounding,
    given: dict[EffectType, PayloadTransformer] | None = None,
) -> PayloadTransformer | None:
    """The transformer of an effect's payload: the host's own (``given``), else the handler's.

    LLM calls of a handler that brings none are grounded too if the host says ``on``, and with ``auto`` where
    AbstractCore is installed; ``off`` leaves them as they are.
    """
    if given and kind in given:
        return given[kind]
    own: PayloadTransformer | None = _part(handler, _TRANSFORMER)
    if kind is not EffectType.LLM_CALL:
        return own
    if grounding == "off":
        return None
    if own is None and (grounding == "on" or _has_abstractcore()):
        own = lent("llm_grounding")
    return own


def _has_abstractcore() -> bool:
    """As it is now, and not imported: what the ledger shows must not cost an import."""
    if "abstractcore" in sys.modules:
        return sys.modules["abstractcore"] is not None  # None is how a host hides it
    return _finds_abstractcore(tuple(sys.path))


@lru_cache(maxsize=8)
def _finds_abstractcore(path: tuple[str, ...]) -> bool:
    """Whether it is on this ``sys.path``: a search of the disk, once for each."""
    return find_spec("abstractcore") is not None


def apply_completed(
    on_completed: OnCompleted, run: RunState, effect: Effect, result: dict[str, Any] | None, key: str
) -> bool:
    """Let a handler change ``run.vars`` as its completed outcome says; whether that went well. The effect
    has happened, so a failure is logged and fails no run."""
    try:
        on_completed(run, effect, result, key)
    except Exception:
        logger.warning("on_completed of %s, run %s failed", effect.type.value, run.run_id, exc_info=True)
        return False
    return True


def on_committed_of(handler: object) -> OnCommitted | None:
    """The handler's ``on_committed``, if it brings one."""
    part: OnCommitted | None = _part(handler, _ON_COMMITTED)
    return part


def notify_committed(on_committed: OnCommitted, run: RunState, effect: Effect, key: str) -> None:
    """Tell a handler that its completed outcome is stored. What it can't tidy up is logged."""
    try:
        on_committed(run, effect, key)
    except Exception:
        logger.warning("on_committed of %s, run %s failed", effect.type.value, run.run_id, exc_info=True)
