"""Runs whose time has come, in pages, without decoding them: what a scheduler polls (`spec/02 §15`, S-10).

Beyond the contract's `list_due_wait_until` they include waits of any kind with a time-out, leave out paused
runs, and go on after the last one seen.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import nsmallest
from typing import NamedTuple, Protocol, runtime_checkable

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState
from abstractruntime.core.resume import due_time
from abstractruntime.core.times import parse_time

from .base import DEFAULT_LIMIT
from .run_index import wanted_rows

__all__ = ["DueRun", "DueRunStore", "due_page", "wake_time"]


class DueRun(NamedTuple):
    """A run that waits, and since when it need not any more.

    Attributes:
        due: seconds since 1970, UTC.
        run_id: the run.
        workflow_id: what it runs.
    """

    due: float
    run_id: str
    workflow_id: str


@runtime_checkable
class DueRunStore(Protocol):
    """A run store that lists what is due."""

    def list_due(
        self, *, now_iso: str, after: DueRun | None = None, limit: int = DEFAULT_LIMIT
    ) -> list[DueRun]:
        """Runs that wait for a time, or no longer than a time, which is not after ``now_iso``, without paused
        ones; earliest first, beyond ``after``."""
        ...


def wake_time(run: RunState) -> float | None:
    """When the run's timer or time-out is due, seconds since 1970; ``None`` if it has none or is paused."""
    due = due_time(run)
    return None if due is None or is_paused(run) else due.timestamp()


def due_page(waiting: Iterable[DueRun], now_iso: str, after: DueRun | None, limit: int) -> list[DueRun]:
    """The page of ``waiting`` that `DueRunStore.list_due` asks for."""
    now = parse_time(now_iso).timestamp()
    due = (run for run in waiting if run.due <= now and (after is None or run > after))
    return nsmallest(wanted_rows(limit), due)
