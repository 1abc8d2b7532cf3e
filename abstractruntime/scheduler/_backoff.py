"""Rests of runs that failed, longer with each failure (`spec/02 §15 S-10`)."""

from __future__ import annotations

import time
from threading import Lock

__all__ = ["FIRST_REST_S", "LONGEST_REST_S", "Backoff"]

FIRST_REST_S = 1.0
LONGEST_REST_S = 300.0
_MOST_DOUBLINGS = 16


class Backoff:
    """When each failing run may be tried again: after 1 s, 2 s, 4 s ... 300 s. Safe among threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._rests: dict[str, tuple[int, float]] = {}

    def failed(self, run_id: str) -> None:
        """One failure more: the run rests, twice as long as before."""
        with self._lock:
            failures = self._rests.get(run_id, (0, 0.0))[0]
            rest = min(FIRST_REST_S * 2 ** min(failures, _MOST_DOUBLINGS), LONGEST_REST_S)
            self._rests[run_id] = (failures + 1, time.monotonic() + rest)

    def rests(self, run_id: str) -> bool:
        """Whether it is too early to try the run again."""
        with self._lock:
            return time.monotonic() < self._rests.get(run_id, (0, 0.0))[1]

    def forget(self, run_id: str) -> None:
        """The run is well."""
        with self._lock:
            self._rests.pop(run_id, None)

    def forget_old(self) -> None:
        """Drop runs that nobody has tried for long since: they have gone elsewhere."""
        long_ago = time.monotonic() - 2 * LONGEST_REST_S
        with self._lock:
            self._rests = {run_id: rest for run_id, rest in self._rests.items() if rest[1] > long_ago}
