"""Text of answers that are still being streamed, for who wants to show it (`spec/04 §16.25`).

Nothing of this is stored: the ledger gets the whole answer, once. Only streams that are consumed in this
process, for an ``LLM_CALL`` of a run, are told of.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from abstractruntime.core.effect_context import EffectContext

__all__ = ["StreamProgress", "publish", "subscribe_stream_progress"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StreamProgress:
    """One piece of an answer.

    Attributes:
        run_id: whose answer it is.
        idempotency_key: of the effect; a new ``attempt`` (1-based) begins the text anew.
        index: the chunk's position in the stream, growing.
        text: the piece itself, never empty.
    """

    run_id: str
    idempotency_key: str
    attempt: int
    index: int
    text: str


_guard = threading.Lock()
_subscribers: dict[object, tuple[str | None, Callable[[StreamProgress], None]]] = {}


def subscribe_stream_progress(
    callback: Callable[[StreamProgress], None], *, run_id: str | None = None
) -> Callable[[], None]:
    """Call ``callback`` with each piece of text (of one run, if given), in the thread that reads the stream.

    Returns:
        what ends the subscription; it may be called more than once. What a callback raises is logged.
    """
    token = object()
    with _guard:
        _subscribers[token] = (run_id, callback)

    def unsubscribe() -> None:
        with _guard:
            _subscribers.pop(token, None)

    return unsubscribe


def publish(attempt: EffectContext, index: int, text: str) -> None:
    """Tell the subscribers."""
    with _guard:
        wanted = [call for run_id, call in _subscribers.values() if run_id in (None, attempt.run_id)]
    progress = StreamProgress(attempt.run_id, attempt.idempotency_key, attempt.attempt, index, text)
    for callback in wanted:
        try:
            callback(progress)
        except Exception:
            logger.warning("a subscriber failed on the stream of run '%s'", attempt.run_id, exc_info=True)
