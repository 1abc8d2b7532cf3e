"""The look at ended runs when a scheduler starts (`spec/02 §9`, D-4)."""

from __future__ import annotations

import logging

from abstractruntime.core.last_words import LastWords
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.base import QueryableRunStore

from ._search import listed
from .registry import WorkflowRegistry

__all__ = ["look_at_ended_runs"]

logger = logging.getLogger(__name__)

NEWEST = 100
"""Of each status: what a process that died was at work on is among them. For others there is
`Runtime.repair_ledger`."""

_ENDED = (RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED)


def look_at_ended_runs(
    last_words: LastWords | None, store: QueryableRunStore, registry: WorkflowRegistry
) -> None:
    """Let the newest ended runs have the ledger records that a process which died has left out.

    Only runs of registered workflows: others are somebody else's business, or never had a ledger (the runs
    that own a session's memory). What fails is logged.
    """
    if last_words is None:
        return
    for status in _ENDED:
        try:
            for row in listed(store, status, NEWEST):
                if registry.get(row.workflow_id) is not None:
                    last_words.look_at(row.run_id)
        except Exception:
            logger.warning("%s runs were not looked at", status.value, exc_info=True)
