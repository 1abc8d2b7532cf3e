"""Hints for later: the first few go to the broker as Celery ETA messages, the others are kept here.

A Celery ETA message sits in a worker's memory, unacknowledged, until it is due; each one lets the worker
take one message more, so ten thousand timers would fill one worker (`RESEARCH §1.2`), and a worker busy
with something else would be late with every one it holds. So a process has at most `eta_limit` of them under
way. Of the others each is a few hundred bytes here, at most `limit` of them per process, and when it is due
any worker that is free takes it.

Nothing depends on this memory: a hint that is lost with its process, or finds no room, is sent by the sweep
once its run's ``wake_at`` has passed.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from time import monotonic

from abstractruntime.storage.checkpoints import Task

from . import metrics
from .hints import Dispatcher, Hint, Message

__all__ = ["Timekeeper"]

logger = logging.getLogger(__name__)

# A tick that comes a moment too early has to be sent again; one that is a moment late does not.
MARGIN_S = 0.0005
PAGE = 200
# Between two looks at a queue that is full.
FULL_FOR_S = 0.05


class Timekeeper:
    """`Dispatcher` that keeps hints for later and passes all others on at once. Safe for threads.

    Args:
        dispatcher: publishes what is due, and what is for later as ETA messages.
        limit: how many hints are kept at most.
        eta_limit: how many hints that are not due yet may be ETA messages at a time.
    """

    def __init__(self, dispatcher: Dispatcher, *, limit: int, eta_limit: int = 0) -> None:
        self._dispatcher = dispatcher
        self._limit = limit
        self._eta_limit = eta_limit
        self._eta_dues: list[float] = []
        self._kept: list[tuple[float, int, Hint]] = []
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def room(self) -> int:
        """How many more hints can be kept."""
        return self._limit - len(self._kept)

    def send(self, messages: Sequence[Message]) -> None:
        """Publish what is for now, keep what is for later."""
        later = [message for message in messages if isinstance(message, Hint) and message.delay_s > 0]
        if not later:
            self._dispatcher.send(messages)
            return
        now = [message for message in messages if not (isinstance(message, Hint) and message.delay_s > 0)]
        with_eta = self._count_eta(later)
        if now or with_eta:
            # Of ETA messages there are few: a full queue must not cost a timer its time.
            etas = [replace(hint, takes_room=False) for hint in later[:with_eta]]
            self._dispatcher.send([*now, *etas])
        if later[with_eta:]:
            self._keep(later[with_eta:])

    def _count_eta(self, later: list[Hint]) -> int:
        """How many of these hints may be ETA messages; they count until they are due."""
        with self._changed:
            now = monotonic()
            while self._eta_dues and self._eta_dues[0] <= now:
                heapq.heappop(self._eta_dues)
            number = min(len(later), max(0, self._eta_limit - len(self._eta_dues)))
            for hint in later[:number]:
                heapq.heappush(self._eta_dues, hint.made_at + hint.delay_s)
        return number

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        """Whether the task's queue in the broker is full; what is kept here is not in it."""
        return self._dispatcher.is_full(task, look=look)

    def _keep(self, hints: list[Hint]) -> None:
        with self._changed:
            if self._closed:
                fitting = 0
            else:
                fitting = max(0, min(self.room, len(hints)))
                first = self._kept[0][0] if self._kept else float("inf")
                for hint in hints[:fitting]:
                    due = hint.made_at + hint.delay_s + MARGIN_S
                    heapq.heappush(self._kept, (due, next(self._order), hint))
                if self._thread is None and fitting:
                    self._thread = threading.Thread(target=self._run, name="timekeeper", daemon=True)
                    self._thread.start()
                elif fitting and self._kept[0][0] < first:
                    self._changed.notify()
        if fitting < len(hints):
            metrics.count("timers_left_to_sweep", len(hints) - fitting)

    def _run(self) -> None:
        while True:
            due = self._next_page()
            if due is None:
                return
            due = self._with_room(due)
            if not due:
                continue
            try:
                self._dispatcher.send(due)
            except Exception:
                # Whatever it is, the other timers must not stop for it; the sweep sends these.
                logger.exception("%d hint(s) could not be sent when due, left to the sweep", len(due))

    def _next_page(self) -> list[Hint] | None:
        """The next hints that are due, as soon as there are any; ``None`` when closed."""
        with self._changed:
            while not self._closed:
                now = monotonic()
                if not self._kept:
                    self._changed.wait()
                elif self._kept[0][0] > now:
                    self._changed.wait(self._kept[0][0] - now)
                else:
                    return self._pop(now)
            return None

    def _pop(self, now: float) -> list[Hint]:
        page: list[Hint] = []
        while self._kept and len(page) < PAGE and self._kept[0][0] <= now:
            page.append(heapq.heappop(self._kept)[2])
        return page

    def _with_room(self, due: list[Hint]) -> list[Hint]:
        """Those whose queue has room now, which must not be withheld any more; the others stay here, and for
        a moment everything does: so a burst enters the broker as fast as it is worked off."""
        full = [task for task in {hint.task for hint in due} if self.is_full(task, look=len(due) > 1)]
        if not full:
            return [replace(hint, takes_room=False) for hint in due]
        with self._changed:
            if self._closed:
                return due
            for hint in due:
                if hint.task in full:
                    heapq.heappush(self._kept, (hint.made_at + hint.delay_s, next(self._order), hint))
            if all(hint.task in full for hint in due):
                self._changed.wait(FULL_FOR_S)
        return [replace(hint, takes_room=False) for hint in due if hint.task not in full]

    def close(self) -> None:
        """Hand over: what is kept is published for now, and who receives it too early keeps it, so that the
        others' bounds hold as well."""
        with self._changed:
            self._closed = True
            left = [hint for _, _, hint in self._kept]
            self._kept.clear()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=5.0)
        if left:
            self._dispatcher.send([replace(hint, delay_s=0.0) for hint in left])
