"""The store's clock as seen from a step, so that no worker's wrong clock matters (`DESIGN §3, §4`)."""

from __future__ import annotations

from datetime import datetime, timezone
from time import monotonic

from abstractruntime.core.environment import Environment
from abstractruntime.storage.checkpoints import Unit

__all__ = ["KeptClock", "StepClock"]


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


class KeptClock:
    """Saves a caller that begins many units the question what time it is.

    Args:
        keep_s: seconds for which this process's monotonic clock is trusted to go as the store's does; 0 = ask
            in every unit. Racing threads ask once more, nothing else.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._asked_at = float("-inf")
        self._clock = StepClock(0.0)

    def of(self, unit: Unit) -> StepClock:
        """The store's clock as seen from a unit that begins now."""
        if monotonic() - self._asked_at >= self._keep_s:
            self._clock, self._asked_at = StepClock(unit.now), monotonic()
        return self._clock
