"""The store's clock as seen from a step, so that no worker's wrong clock matters (`DESIGN §3, §4`)."""

from __future__ import annotations

from datetime import datetime, timezone
from time import monotonic

from abstractruntime.core.environment import Environment

__all__ = ["StepClock"]


class StepClock:
    """Counts on from a time read from the store."""

    def __init__(self, store_now: float) -> None:
        self._offset = store_now - monotonic()

    def epoch(self) -> float:
        """The store's time now, epoch seconds."""
        return monotonic() + self._offset

    def now(self) -> datetime:
        """The store's time now, aware UTC."""
        return datetime.fromtimestamp(self.epoch(), timezone.utc)

    def environment(self) -> Environment:
        """The kernel's ports over this clock."""
        return Environment(now=self.now)
