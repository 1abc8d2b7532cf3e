"""The sweep: recovery and timers are the same bounded, idempotent look at ``wake_at`` (`DESIGN §1.6`)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from abstractruntime.core import faults
from abstractruntime.storage.checkpoints import CheckpointStore, Task

from . import metrics
from .hints import Dispatcher, Hint
from .placement import Timing

__all__ = ["sweep"]

logger = logging.getLogger(__name__)

MAX_BATCHES = 200


def sweep(
    store: CheckpointStore,
    dispatcher: Dispatcher,
    timing: Timing,
    *,
    batch: int = 500,
    room: Callable[[], int] | None = None,
) -> int:
    """Send hints for runs that somebody must look at, the most urgent first, as long as their queue has room;
    any number of sweeps may run at once.

    Args:
        batch: runs claimed at once.
        room: how many hints for later this process can still keep. While there is none, what is left stays
            for the next sweep, in the order of its wake-ups.

    Returns:
        how many hints were sent.
    """
    sent = 0
    for _ in range(MAX_BATCHES):
        open_queues = [task for task in Task if not dispatcher.is_full(task, look=True)]
        if not open_queues:
            metrics.count("sweep_held_back")
            break
        only = open_queues[0] if len(open_queues) == 1 else None
        limit = batch if room is None else min(batch, room())
        began = monotonic()
        due = store.claim_due(limit=limit, grace_s=timing.grace_s, ageing_s=timing.ageing_s, only=only)
        if due:
            faults.hit("sweep.claimed")
            dispatcher.send([Hint.for_due(run, began) for run in due])
            sent += len(due)
        if len(due) < batch:
            break
    if sent:
        metrics.count("swept", sent)
        logger.info("sweep sent %d hint(s)", sent)
    store.forget_claims()
    return sent
