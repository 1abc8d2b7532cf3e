"""Learning of the end of runs within milliseconds: one subscription for all who wait in a process.

An announcement is a hint like any other: it may be lost (a worker killed between commit and publish, Redis
away), so whoever waits also looks at the row from time to time.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from threading import Event as Signal
from threading import Lock
from time import monotonic

from abstractruntime.core.models import RunState

from .settings import Settings
from .subscription import Subscription

__all__ = ["POLL_AWAY_S", "POLL_S", "Endings", "Watch", "until_ended"]

POLL_AWAY_S = 0.5
"""Pause between two looks at the row while Redis is away (seconds)."""
POLL_S = 5.0
"""Pause between two looks while announcements arrive; for those that were never sent (seconds)."""

Notify = Callable[[], None]


class Endings:
    """Who waits for the end of which run."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._prefix = settings.ended_channel
        self._lock = Lock()
        self._watches: dict[str, set[Watch]] = defaultdict(set)
        self._subscription: Subscription | None = None
        self._pid = os.getpid()

    @property
    def pause_s(self) -> float:
        """How long to wait for an announcement before looking at the row."""
        subscription = self._subscription
        connected = subscription is not None and subscription.is_connected
        return POLL_S if connected else POLL_AWAY_S

    def watch(self, run_id: str, notify: Notify) -> Watch:
        """Call ``notify`` (in another thread) whenever it is worth looking at the run: once announcements
        are sure to arrive, when one has arrived, and when they can't any more."""
        watch = Watch(self, run_id, notify)
        with self._lock:
            subscription = self._running()
            self._watches[run_id].add(watch)
            is_first = len(self._watches[run_id]) == 1
        if is_first:
            subscription.add(self._prefix + run_id)
        else:
            # Somebody's SUBSCRIBE may still be under way: look again soon rather than never.
            notify()
        return watch

    def close(self) -> None:
        """End the subscription; who still waits goes on by polling."""
        with self._lock:
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.close()

    def _running(self) -> Subscription:
        if self._pid != os.getpid():
            # Forked: the thread and its connection stayed with the parent.
            self._subscription, self._pid = None, os.getpid()
            self._watches.clear()
        if self._subscription is None:
            self._subscription = Subscription(
                self._settings.redis_url,
                on_message=lambda channel, _data: self._notify(channel),
                on_subscribed=self._notify,
                on_lost=self._notify_all,
                timeout_s=self._settings.publish_timeout,
                name="run-endings",
            )
            for run_id in self._watches:
                self._subscription.add(self._prefix + run_id)
            self._subscription.start()
        return self._subscription

    def _forget(self, watch: Watch) -> None:
        with self._lock:
            watches = self._watches.get(watch.run_id)
            if watches is None:
                return
            watches.discard(watch)
            if watches:
                return
            del self._watches[watch.run_id]
            if self._subscription is not None:
                self._subscription.remove(self._prefix + watch.run_id)

    def _notify(self, channel: str) -> None:
        with self._lock:
            watches = list(self._watches.get(channel.removeprefix(self._prefix), ()))
        for watch in watches:
            watch.notify()

    def _notify_all(self) -> None:
        with self._lock:
            watches = [watch for some in self._watches.values() for watch in some]
        for watch in watches:
            watch.notify()


class Watch:
    """One caller's wait for one run."""

    def __init__(self, endings: Endings, run_id: str, notify: Notify) -> None:
        self._endings = endings
        self.run_id = run_id
        self.notify = notify

    def close(self) -> None:
        """Stop watching."""
        self._endings._forget(self)


def until_ended(
    look: Callable[[], RunState], endings: Endings, run_id: str, timeout: float | None
) -> RunState:
    """The run, as ``look`` gives it, once it has ended.

    Raises:
        TimeoutError: it has not within ``timeout`` seconds (``None`` = for ever).
    """
    deadline = None if timeout is None else monotonic() + timeout
    run = look()
    if run.is_terminal:
        return run
    signal = Signal()
    watch = endings.watch(run_id, signal.set)
    try:
        while True:
            signal.clear()
            run = look()
            if run.is_terminal:
                return run
            left = None if deadline is None else deadline - monotonic()
            if left is not None and left <= 0:
                raise TimeoutError(f"Run '{run_id}' is {run.status.value} after {timeout:g} s")
            signal.wait(endings.pause_s if left is None else min(endings.pause_s, left))
    finally:
        watch.close()
