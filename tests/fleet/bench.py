"""A deployment in this process: an App over a store with a clock of its own, and a queue of hints."""

from __future__ import annotations

from collections.abc import Sequence

from abstractruntime.app import App
from abstractruntime.core.models import RunState
from abstractruntime.core.starting import new_run
from abstractruntime.storage.checkpoints import Checkpoint, Task
from abstractruntime.storage.in_memory_checkpoints import InMemoryCheckpointStore
from workers.deployment import Deployment
from workers.hints import Hint, Message
from workers.settings import load_settings
from workers.sweep import sweep

__all__ = ["Bench"]


class Bench:
    """Drives a deployment by hand.

    Attributes:
        time: the store's clock, epoch seconds; tests move it.
        sent: all messages that left so far.
        full: queues that take no more.
    """

    def __init__(self, app: App, **settings: object) -> None:
        self.time = 1_800_000_000.0
        self.sent: list[Message] = []
        self.full: set[Task] = set()
        self._queue: list[Message] = []
        self.app = app
        self.store = InMemoryCheckpointStore(lambda: self.time)
        self.deployment = Deployment.build(load_settings(app="x:y", **settings), app, self.store, self)

    def send(self, messages: Sequence[Message]) -> None:
        """The dispatcher's part: keep what is sent."""
        self.sent += messages
        self._queue += messages

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        """Never, unless a test says so."""
        return task in self.full

    def start(
        self, workflow_id: str, vars: dict[str, object] | None = None, *, priority: int = 0, **fields: str
    ) -> str:
        """Insert a run; its tick is in the queue."""
        workflow = self.app.get(workflow_id)
        assert workflow is not None
        commits = self.deployment.commits
        with commits.batch() as batch:
            run = new_run(workflow, config=self.app.config, env=batch.env, vars=vars, **fields)
            is_limited = bool(self.app.start_limits(workflow_id))
            assert commits.insert_run(batch, run, depth=0, priority=priority, is_limited=is_limited)
        return run.run_id

    def drain(self) -> None:
        """Carry out every hint that is due."""
        while self._queue:
            message = self._queue.pop(0)
            if not isinstance(message, Hint):
                continue
            if message.delay_s > 0:
                continue  # a timer: `pass_time` finds it by the sweep
            engine = self.deployment.engine
            act = engine.effect if message.task is Task.EFFECT else engine.tick
            act(message.run_id, message.version)

    def pass_time(self, seconds: float) -> None:
        """Move the clock, sweep, and carry out what has become due."""
        self.time += seconds
        sweep(self.store, self, self.deployment.timing)
        self.drain()

    def lose_messages(self) -> None:
        """A flushed broker."""
        self._queue.clear()

    def checkpoint(self, run_id: str) -> Checkpoint:
        """The stored checkpoint."""
        found = self.store.load(run_id)
        assert found is not None
        return found

    def run(self, run_id: str) -> RunState:
        """The stored run."""
        return self.checkpoint(run_id).run

    def records(self, run_id: str) -> list[tuple[str, str | None]]:
        """(status, effect type) of every ledger record."""
        return [
            (str(entry.record["status"]), (entry.record["effect"] or {}).get("type"))
            for entry in self.store.ledger(run_id)
        ]
