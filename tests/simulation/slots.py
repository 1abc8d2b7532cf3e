"""Slots inside simulated transactions: rows are locked as in PostgreSQL, writes come back after a pause."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from abstractruntime.core.limit_terms import Terms
from abstractruntime.storage.slots import Usage, Waiter

if TYPE_CHECKING:
    from abstractruntime.storage.in_memory_slots import InMemorySlots

    from .database import SimulatedUnit

__all__ = ["SimulatedSlots"]

T = TypeVar("T")


class SimulatedSlots:
    """See `abstractruntime.storage.slots.Slots`."""

    def __init__(self, unit: SimulatedUnit) -> None:
        self._unit = unit

    def _read(self, name: str, act: Callable[[InMemorySlots], T]) -> T:
        return act(self._unit._statement(name).slots)

    def _write(self, name: str, act: Callable[[InMemorySlots], T], *, run_id: str | None = None) -> T:
        """A statement that changes rows; done again, at its own time, whenever the transaction goes on."""
        unit = self._unit
        unit._statement(name)
        if run_id is not None:
            unit._lock(f"run:{run_id}")
        stamp = unit._stamp
        done = act(unit._tables.slots)

        def again() -> None:
            unit._stamp = stamp
            act(unit._tables.slots)

        unit._done.append(again)
        return done

    def usage(self, key: str, terms: Terms, *, but: str = "") -> Usage:
        return self._write("usage", lambda slots: slots.usage(key, terms, but=but))

    def held_by(self, run_id: str) -> list[tuple[str, Terms]]:
        return self._read("held_by", lambda slots: slots.held_by(run_id))

    def rank_of(self, run_id: str) -> float | None:
        return self._read("rank_of", lambda slots: slots.rank_of(run_id))

    def take(self, run_id: str, claims: list[tuple[str, Terms]]) -> None:
        self._write("take", lambda slots: slots.take(run_id, claims))

    def queue_up(self, key: str, run_id: str, version: int, terms: Terms, rank: float) -> None:
        self._write("queue_up", lambda slots: slots.queue_up(key, run_id, version, terms, rank))

    def line(self, key: str, limit: int) -> list[Waiter]:
        return self._write("line", lambda slots: slots.line(key, limit))

    def ahead(self, key: str, rank: float, run_id: str, limit: int) -> int:
        return self._read("ahead", lambda slots: slots.ahead(key, rank, run_id, limit))

    def call(self, key: str, waiter: Waiter, *, called_at: float, wake_at: float) -> bool:
        def act(slots: InMemorySlots) -> bool:
            return slots.call(key, waiter, called_at=called_at, wake_at=wake_at)

        return self._write("call", act, run_id=waiter.run_id)

    def hold(self, run_id: str, version: int, *, wake_at: float, reason: str, admission: str | None) -> bool:
        def act(slots: InMemorySlots) -> bool:
            return slots.hold(run_id, version, wake_at=wake_at, reason=reason, admission=admission)

        return self._write("hold", act, run_id=run_id)

    def admit(self, run_id: str, version: int) -> bool:
        return self._write("admit", lambda slots: slots.admit(run_id, version), run_id=run_id)
