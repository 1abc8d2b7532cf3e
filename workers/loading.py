"""Is there something to do? The run of a hint, if the hint still says the truth."""

from __future__ import annotations

import logging

from abstractruntime.core.control import is_paused
from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, Task

from . import metrics
from .commits import Commits
from .hints import Hint

__all__ = ["Loading", "is_ready"]

logger = logging.getLogger(__name__)

DEFER_CORRUPT_S = 60.0


class Loading:
    """Loads runs for hints, and counts the hints that are dropped."""

    def __init__(self, commits: Commits) -> None:
        self._commits = commits
        self._store = commits.store

    def load(self, run_id: str, version: int, *, first: bool = False) -> Checkpoint | None:
        """The run, if it is at this version and somebody may work on it now.

        Args:
            first: the hint was sent by the commit that made this version: perhaps this process's.
        """
        if first:
            kept = self._commits.recent.take(run_id, version)
            if kept is not None and not is_paused(kept.run):
                return kept
        try:
            checkpoint = self._store.load(run_id)
        except CorruptCheckpointError as exc:
            metrics.count("tick_dropped", reason="corrupt")
            logger.exception("run %s can't be decoded", run_id)
            self._store.defer(run_id, version, DEFER_CORRUPT_S, str(exc))
            return None
        reason = None
        if checkpoint is None:
            reason = "unknown"
        elif checkpoint.version != version:
            reason = "stale"
        elif checkpoint.run.is_terminal:
            reason = "terminal"
        elif is_paused(checkpoint.run):
            reason = "paused"
        elif checkpoint.lease_until is not None and checkpoint.lease_until > checkpoint.now:
            reason = "leased"
        elif checkpoint.due_at is not None and checkpoint.due_at > checkpoint.now:
            self._too_early(checkpoint)
            return None
        if reason is not None:
            metrics.count("tick_dropped", reason=reason)
            return None
        return checkpoint

    def _too_early(self, checkpoint: Checkpoint) -> None:
        """A hint that came before its time (a worker's clock runs fast): send it again, for the rest."""
        metrics.count("tick_dropped", reason="early")
        run = checkpoint.run
        left = (checkpoint.due_at or 0.0) - checkpoint.now
        if left <= self._commits.timing.horizon_s:
            hint = Hint(
                checkpoint.task, run.run_id, checkpoint.version, run.current_node, run.workflow_id, left
            )
            self._commits.publish([hint])


def is_ready(checkpoint: Checkpoint) -> bool:
    """Whether a tick has something to do with the run."""
    run = checkpoint.run
    if checkpoint.task is Task.EFFECT:
        metrics.count("tick_dropped", reason="effect_pending")
        return False
    if run.status is RunStatus.WAITING:
        if checkpoint.due_at is None:
            metrics.count("tick_dropped", reason="waiting")
            return False
        return True
    return run.status is RunStatus.RUNNING
