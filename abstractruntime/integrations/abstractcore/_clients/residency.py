"""Things that are dear to make and to keep: made once, kept while there is room (`spec/04 §16.19`)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Residency"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class _Entry(Generic[V]):
    made: Future[V]
    users: int = 0
    used_at: int = 0
    is_leaving: bool = False


class Residency(Generic[K, V]):
    """Thread-safe. One maker per key at a time: who comes meanwhile waits for the same thing.

    Args:
        make: makes the thing of a key; what it raises reaches all who wait, and the next one tries again.
        drop: gives a thing up that left; called when nobody uses it any more, outside of locks.
        limit: how many may stay; the least recently used that nobody uses leaves first. In use, more may.
        pinned: keys that leave only by `remove`.
    """

    def __init__(
        self,
        make: Callable[[K], V],
        drop: Callable[[K, V], None],
        *,
        limit: int,
        pinned: frozenset[K] = frozenset(),
    ) -> None:
        self._make, self._drop = make, drop
        self._limit, self._pinned = limit, pinned
        self._lock = threading.Lock()
        self._entries: dict[K, _Entry[V]] = {}
        self._clock = 0

    @contextmanager
    def using(self, key: K) -> Iterator[V]:
        """The thing of this key; it is not dropped while the block runs."""
        entry, is_maker = self._enter(key)
        try:
            if is_maker:
                self._fill(key, entry)
            yield entry.made.result()
        finally:
            self._leave(key, entry)

    def get(self, key: K) -> V:
        """The thing of this key, made if need be. Nothing keeps it from being dropped later."""
        with self.using(key) as value:
            return value

    def keys(self) -> list[K]:
        """What is here, in the order in which it came."""
        with self._lock:
            return [key for key, entry in self._entries.items() if _is_ready(entry)]

    def remove(self, key: K) -> bool:
        """Let it go, at the latest when its last user is done; whether it was here."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or not _is_ready(entry):
                return False
            del self._entries[key]
            entry.is_leaving = True
            if entry.users:
                return True
        self._drop(key, entry.made.result())
        return True

    def clear(self) -> None:
        """Let everything go."""
        for key in self.keys():
            self.remove(key)

    def _enter(self, key: K) -> tuple[_Entry[V], bool]:
        with self._lock:
            entry = self._entries.get(key)
            is_maker = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry(Future())
            entry.users += 1
            self._clock += 1
            entry.used_at = self._clock
            return entry, is_maker

    def _fill(self, key: K, entry: _Entry[V]) -> None:
        try:
            entry.made.set_result(self._make(key))
        except BaseException as exc:
            with self._lock:
                del self._entries[key]
            entry.made.set_exception(exc)

    def _leave(self, key: K, entry: _Entry[V]) -> None:
        with self._lock:
            entry.users -= 1
            leaving = self._surplus()
            if entry.is_leaving and not entry.users:
                leaving.append((key, entry))
        for gone, left in leaving:
            self._drop(gone, left.made.result())

    def _surplus(self) -> list[tuple[K, _Entry[V]]]:
        idle = [
            (key, entry)
            for key, entry in self._entries.items()
            if not entry.users and key not in self._pinned and _is_ready(entry)
        ]
        idle.sort(key=lambda row: row[1].used_at)
        surplus = idle[: max(0, len(self._entries) - self._limit)]
        for key, _ in surplus:
            del self._entries[key]
        return surplus


def _is_ready(entry: _Entry[V]) -> bool:
    return entry.made.done() and entry.made.exception() is None
