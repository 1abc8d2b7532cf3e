"""The part of the fleet's port that keeps limits: who holds a slot of a key, and who stands in line for one.

A slot is held by a row that names a run; whether it still counts is read from the run itself (its lease,
its status), so a worker that is killed gives its slot back when its lease ends. Everything about a key is
read and written while the key is locked (`Unit.lock_keys`), before any run is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from abstractruntime.core.limit_terms import Terms

from .checkpoints import Task

__all__ = ["MAX_CALLS", "UNSENT", "Slots", "Usage", "Waiter"]

UNSENT = -1
"""``redeliveries`` of a run of which no hint is under way: the sweep's next one makes it 0."""

MAX_CALLS = 3
"""A waiter that was called so often and never came no longer keeps a slot from those behind it."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What is in use of a key.

    Attributes:
        now: the store's time.
        live: slots that are held.
        first_end: when the first of their leases ends; ``None`` = none of them is a lease.
        claims: times of the beginnings in the window, ascending, at most ``count`` of them.
    """

    now: float
    live: int
    first_end: float | None
    claims: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Waiter:
    """A run in line for a slot, still at the version with which it queued up."""

    run_id: str
    version: int
    rank: float
    called_at: float | None
    task: Task
    node: str
    workflow_id: str


class Slots(Protocol):
    """One unit's view of all slots."""

    def usage(self, key: str, terms: Terms, *, but: str = "") -> Usage:
        """What others than the run ``but`` use; removes rows that hold nothing any more."""
        ...

    def held_by(self, run_id: str) -> list[tuple[str, Terms]]:
        """Keys of the run's slots, used up or not, by key."""
        ...

    def rank_of(self, run_id: str) -> float | None:
        """The run's rank if it stands in line already."""
        ...

    def take(self, run_id: str, claims: list[tuple[str, Terms]]) -> None:
        """The run leaves its lines and holds a slot of each key; a key with a rate counts a beginning."""
        ...

    def queue_up(self, key: str, run_id: str, version: int, terms: Terms, rank: float) -> None:
        """The run stands in this line, and in no other."""
        ...

    def line(self, key: str, limit: int) -> list[Waiter]:
        """The first of the line by (rank, run id). Who has moved since he queued up is taken out of it;
        who did not come when called `MAX_CALLS` times is passed over."""
        ...

    def ahead(self, key: str, rank: float, run_id: str, limit: int) -> int:
        """Number of waiters before this place, counted up to ``limit``."""
        ...

    def call(self, key: str, waiter: Waiter, *, called_at: float, wake_at: float) -> bool:
        """Remember that the waiter was called for then, and make the sweep look at its run at ``wake_at``;
        False if the run has moved."""
        ...

    def hold(self, run_id: str, version: int, *, wake_at: float, reason: str, admission: str | None) -> bool:
        """The run waits until ``wake_at`` or until it is called, and says why; keeps its version.
        ``admission``: its new value, ``None`` = as it was. False if the run has moved."""
        ...

    def admit(self, run_id: str, version: int) -> bool:
        """The run may begin; False if it has moved or was admitted before. Keeps its version."""
        ...
