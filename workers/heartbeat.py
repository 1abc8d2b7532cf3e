"""Keeping an effect's lease while its handler runs, and noticing that nobody wants its result any more."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore

__all__ = ["Heartbeat"]

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3


class Heartbeat:
    """The lease of one claimed effect step.

    Args:
        has_slot: the lease stands for the slot of a limit too: once it has ended, it is not taken up again.
    """

    def __init__(
        self, store: CheckpointStore, held: Checkpoint, lease_s: float, *, has_slot: bool = False
    ) -> None:
        self._store = store
        self._run_id = held.run.run_id
        self._version = held.version
        self._step_id = held.step.step_id if held.step else None
        self._lease_s = lease_s
        self._revive = not has_slot
        self._ended = Event()
        self._unwanted = Event()

    def is_unwanted(self) -> bool:
        """The run was cancelled, the slot lost, or another worker has taken the effect over."""
        return self._unwanted.is_set()

    @contextmanager
    def beating(self, *, quick: bool) -> Iterator[None]:
        """Extend the lease until the body ends; a quick effect has one lease and no thread."""
        if quick:
            yield
            return
        thread = Thread(target=self._beat, name=f"lease-{self._run_id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._lease_s / BEATS_PER_LEASE):
            try:
                alive = self._extend()
            except Exception:
                # The database is away: the lease may run out, then the outcome is refused. Go on trying.
                logger.warning("lease of run %s could not be extended", self._run_id, exc_info=True)
                continue
            if not alive:
                self._unwanted.set()
                return

    def _extend(self) -> bool:
        if self._once_more():
            return True
        current = self._store.load(self._run_id)
        if current is None or current.step is None or current.step.step_id != self._step_id:
            return False
        if current.run.status is RunStatus.CANCELLED:
            return False
        # Somebody paused the run or changed its limits: the claim is still ours, at another version.
        self._version = current.version
        return self._once_more()

    def _once_more(self) -> bool:
        return self._store.extend_lease(self._run_id, self._version, self._lease_s, revive=self._revive)
