"""Counting what went wrong without failing a run (`spec/01 §19`, row 20)."""

from __future__ import annotations

from collections import Counter
from threading import Lock

__all__ = ["Tally"]


class Tally:
    """Counts by name. Safe to share among threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[str] = Counter()

    def add(self, name: str) -> None:
        """One more of these."""
        with self._lock:
            self._counts[name] += 1

    def counts(self) -> dict[str, int]:
        """What was counted so far."""
        with self._lock:
            return dict(self._counts)
