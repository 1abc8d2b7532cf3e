"""The background thread of a scheduler and its workers, from start to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event, Thread, current_thread

from ._pool import WorkerPool

__all__ = ["Poller"]

NAME = "abstractruntime-scheduler"


class Poller:
    """One life of the background thread. It has a stop token of its own, so that a later start can't
    revive it (`spec/02 §15 S-8`).

    Args:
        poll: called at once, then ``interval_s`` seconds after the end of the previous call.
        go_on: called in between, after each turn.
        size: number of worker threads.
    """

    def __init__(
        self,
        poll: Callable[[WorkerPool], None],
        go_on: Callable[[WorkerPool], None],
        *,
        interval_s: float,
        size: int,
    ) -> None:
        self._poll = poll
        self._go_on = go_on
        self._interval_s = interval_s
        self._stopped = False
        self._signal = Event()
        self.pool = WorkerPool(size, f"{NAME}-worker", self._signal.set)
        self._thread = Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    @property
    def is_polling(self) -> bool:
        """Whether the thread looks for runs."""
        return not self._stopped and self._thread.is_alive()

    def stop(self, timeout: float) -> bool:
        """Look for no more runs and begin no more turns; wait up to ``timeout`` seconds for those under way.

        Returns:
            whether all threads (but the caller's) have ended.
        """
        deadline = time.monotonic() + timeout
        self._stopped = True
        self._signal.set()
        self.pool.close()
        if self._thread is not current_thread():
            self._thread.join(max(0.0, timeout))
        return self.pool.join(deadline) and not self.is_alive

    @property
    def is_alive(self) -> bool:
        """Whether a thread of it (but the caller's) has not ended yet."""
        polls = self._thread is not current_thread() and self._thread.is_alive()
        return polls or not self.pool.join(0.0)

    def _run(self) -> None:
        next_poll = time.monotonic()
        while not self._stopped:
            if time.monotonic() >= next_poll:
                self._poll(self.pool)
                next_poll = time.monotonic() + self._interval_s
            else:
                self._go_on(self.pool)
            self._signal.wait(max(0.0, next_poll - time.monotonic()))
            self._signal.clear()
