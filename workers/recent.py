"""Checkpoints that this process has just committed, for the hint that follows from the commit.

A tick's hint names the version that its sender committed. If the same process receives it, the run is still
in its memory, and needs no SELECT. Such a copy may be stale: somebody has paused or cancelled the run
meanwhile. That is harmless, because whatever follows begins with a compare-and-swap on the same version: the
commit of the step, or the claim of its effect. A run that is loaded and then changed by somebody before the
commit meets the same.

Only plain checkpoints are kept, of which the row can't change without its version: runnable, with no step in
flight, no timer, no lease, no start limit. What the sweep counts in the row (``redeliveries``) is of no
interest to a first hint, and only that may ask here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from threading import Lock

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, Task
from abstractruntime.storage.json_text import decode

from .clock import StepClock

__all__ = ["RecentCheckpoints"]

KEEP_S = 1.0
"""Seconds for which a checkpoint is believed; a hint that is older has its run loaded."""
LARGEST = 64 * 1024
"""Characters of a state's JSON text; a larger one is not kept."""


@dataclass(frozen=True, slots=True)
class _Kept:
    checkpoint: Checkpoint
    text: str
    clock: StepClock


class RecentCheckpoints:
    """The last few checkpoints of one process. Safe for threads.

    States are kept as the text that was stored, so that nobody who holds on to the committed objects can
    change what the next step sees.

    Args:
        limit: checkpoints at most.
        size: characters of their texts, together, at most.
    """

    def __init__(self, limit: int = 1024, size: int = 4 * 1024 * 1024) -> None:
        self._limit = limit
        self._size = size
        self._held = 0
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()

    def keep(self, committed: Checkpoint, text: str | None, clock: StepClock) -> None:
        """Remember a checkpoint that is committed; ``text`` is its state as stored, if the store told."""
        run_id = committed.run.run_id
        with self._lock:
            self._drop(run_id)
            if text is None or len(text) > LARGEST or not _is_plain(committed):
                return
            self._kept[run_id] = _Kept(committed, text, clock)
            self._held += len(text)
            while len(self._kept) > self._limit or self._held > self._size:
                self._drop(next(iter(self._kept)))

    def take(self, run_id: str, version: int) -> Checkpoint | None:
        """The run at exactly this version, once; ``None`` if it has to be loaded."""
        with self._lock:
            kept = self._drop(run_id)
        if kept is None or kept.checkpoint.version != version:
            return None
        now = kept.clock.epoch()
        if now - kept.checkpoint.now > KEEP_S:
            return None
        return replace(kept.checkpoint, run=RunState.from_dict(decode(kept.text)), now=now)

    def _drop(self, run_id: str) -> _Kept | None:
        kept = self._kept.pop(run_id, None)
        if kept is not None:
            self._held -= len(kept.text)
        return kept


def _is_plain(checkpoint: Checkpoint) -> bool:
    if checkpoint.run.status is not RunStatus.RUNNING or checkpoint.task is not Task.TICK:
        return False
    in_flight = (checkpoint.step, checkpoint.due_at, checkpoint.lease_until, checkpoint.admission)
    return in_flight == (None, None, None, None) and not checkpoint.attempts
