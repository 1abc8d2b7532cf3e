"""A few threads that take jobs in order, at most one job per key at a time."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from threading import Condition, Thread, current_thread

__all__ = ["WorkerPool"]

Job = Callable[[], object]


class WorkerPool:
    """Daemon threads: a node that never returns must not keep the process from ending.

    Args:
        size: number of threads.
        name: prefix of their names.
        on_free: called after each job, when its key is free again.
    """

    def __init__(self, size: int, name: str, on_free: Callable[[], None]) -> None:
        self._changed = Condition()
        self._queue: deque[tuple[str, Job]] = deque()
        self._keys: set[str] = set()
        self._closed = False
        self._on_free = on_free
        self._threads = [Thread(target=self._work, name=f"{name}-{n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def submit(self, key: str, job: Job) -> bool:
        """Queue the job; False if one with this key is queued or under way, or the pool is closed."""
        with self._changed:
            if self._closed or key in self._keys:
                return False
            self._keys.add(key)
            self._queue.append((key, job))
            self._changed.notify()
            return True

    def has(self, key: str) -> bool:
        """Whether a job with this key is queued or under way."""
        with self._changed:
            return key in self._keys

    @property
    def backlog(self) -> int:
        """Number of jobs that no thread has begun."""
        with self._changed:
            return len(self._queue)

    def close(self) -> None:
        """Begin no more jobs; those under way go on."""
        with self._changed:
            self._closed = True
            self._queue.clear()
            self._changed.notify_all()

    def join(self, deadline: float) -> bool:
        """Wait until all threads but the caller have ended, at most until ``deadline`` (monotonic)."""
        others = [thread for thread in self._threads if thread is not current_thread()]
        for thread in others:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in others)

    def _next(self) -> tuple[str, Job] | None:
        with self._changed:
            while not self._queue and not self._closed:
                self._changed.wait()
            return self._queue.popleft() if self._queue else None

    def _work(self) -> None:
        while (task := self._next()) is not None:
            key, job = task
            try:
                job()
            finally:
                with self._changed:
                    self._keys.discard(key)
                self._on_free()
