"""When somebody must look at a run next (`DESIGN §3`: ``wake_at`` is the one wake-up index)."""

from __future__ import annotations

from dataclasses import dataclass

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.resume import due_time

from .settings import Settings

__all__ = ["Placement", "Timing", "placement"]


@dataclass(frozen=True, slots=True)
class Timing:
    """The durations that decide wake-ups, in seconds (see `Settings`)."""

    grace_s: float = 10.0
    horizon_s: float = 30.0
    lease_s: float = 30.0
    ageing_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> Timing:
        """The deployment's durations."""
        return cls(
            settings.redelivery_grace, settings.timer_horizon, settings.lease, settings.priority_ageing
        )


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a run stands on the clock.

    Attributes:
        wake_at: when the sweep must look (epoch seconds); ``None`` = parked.
        due_at: when its timer is due; ``None`` = it has none.
        hint_in_s: publish a hint for then (0 = at once); ``None`` = publish nothing.
    """

    wake_at: float | None = None
    due_at: float | None = None
    hint_in_s: float | None = None


PARKED = Placement()


def placement(run: RunState, now: float, timing: Timing, *, wake_at: float | None = None) -> Placement:
    """Placement of a run between steps.

    Args:
        wake_at: the stored value. A runnable run keeps it while it is still far enough away, so that the
            wake-up index is not rewritten by every step.
    """
    if run.is_terminal or is_paused(run):
        return PARKED
    if run.status is RunStatus.RUNNING:
        kept = wake_at is not None and now + timing.grace_s / 2 < wake_at <= now + timing.grace_s
        return Placement(wake_at=wake_at if kept else now + timing.grace_s, hint_in_s=0.0)
    due = due_time(run)
    return PARKED if due is None else timer(due.timestamp() if due.year > 1 else 0.0, now, timing)


def timer(due_at: float, now: float, timing: Timing) -> Placement:
    """Placement of something due at a time: hinted when within the horizon, else found by the sweep."""
    if due_at - now <= timing.horizon_s:
        return Placement(max(now, due_at) + timing.grace_s, due_at, max(0.0, due_at - now))
    return Placement(due_at - timing.horizon_s, due_at)
