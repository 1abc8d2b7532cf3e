"""A fleet without processes: hints are kept in a list and carried out by the test, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from threading import Lock

from abstractruntime.app import App
from abstractruntime.storage.checkpoints import Task
from abstractruntime.storage.sql.store import SqlCheckpointStore
from workers.deployment import Deployment
from workers.hints import Announcement, Hint, Message
from workers.settings import Settings
from workers.sweep import sweep


class Pump:
    """A dispatcher, and the workers behind it."""

    def __init__(self, settings: Settings, app: App, store: SqlCheckpointStore) -> None:
        self.sent: list[Message] = []
        self._queue: deque[Hint] = deque()
        self._lock = Lock()
        self.deployment = Deployment.build(settings, app, store, self)

    def send(self, messages: Sequence[Message]) -> None:
        with self._lock:
            self.sent += messages
            self._queue += [message for message in messages if isinstance(message, Hint)]

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return False

    def lose(self) -> None:
        """Forget all hints, as a flushed broker does."""
        with self._lock:
            self._queue.clear()

    def ended(self) -> list[str]:
        return [message.run_id for message in self.sent if isinstance(message, Announcement)]

    def run(self, limit: int = 1000) -> int:
        """Carry out hints that are due now, until there are none; how many it were."""
        for done in range(limit):
            hint = self._next()
            if hint is None:
                return done
            engine = self.deployment.engine
            task = engine.tick if hint.task is Task.TICK else engine.effect
            task(hint.run_id, hint.version)
        raise AssertionError(f"still hints after {limit}")

    def sweep(self) -> int:
        return sweep(self.deployment.store, self, self.deployment.timing)

    def _next(self) -> Hint | None:
        with self._lock:
            for hint in self._queue:
                if hint.delay_s <= 0:
                    self._queue.remove(hint)
                    return hint
        return None
