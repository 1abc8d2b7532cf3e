"""The sweep: recovery and timers are the same bounded, idempotent look at ``wake_at`` (`DESIGN §1.6`)."""

from __future__ import annotations

import logging

from abstractruntime.core import faults
from abstractruntime.storage.checkpoints import CheckpointStore

from . import metrics
from .hints import Dispatcher, Hint
from .placement import Timing

__all__ = ["sweep"]

logger = logging.getLogger(__name__)

MAX_BATCHES = 200


def sweep(store: CheckpointStore, dispatcher: Dispatcher, timing: Timing, *, batch: int = 500) -> int:
    """Send hints for all runs that somebody must look at; any number of sweeps may run at once.

    Returns:
        how many hints were sent.
    """
    sent = 0
    for _ in range(MAX_BATCHES):
        due = store.claim_due(limit=batch, grace_s=timing.grace_s)
        if due:
            faults.hit("sweep.claimed")
            dispatcher.send([Hint.for_due(run) for run in due])
            sent += len(due)
        if len(due) < batch:
            break
    if sent:
        metrics.count("swept", sent)
        logger.info("sweep sent %d hint(s)", sent)
    return sent
