"""A consumer that works inside the delivery of its messages, as the solo pool does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kombu import Consumer, Queue

from abstractruntime.storage.checkpoints import Task
from workers.carried import carried_by_this_thread
from workers.celery_app import make_celery
from workers.dispatch import CeleryDispatcher
from workers.hints import Hint, Message
from workers.settings import Settings


class Worker:
    """Takes messages of the tick queue; ``work`` carries one out, and ``done`` says which were begun."""

    def __init__(self, settings: Settings) -> None:
        carried = carried_by_this_thread(also_idle=True)
        assert carried is not None
        carried.__init__()  # type: ignore[misc]  # a worker's thread begins with nothing
        self.settings = settings
        self.celery = make_celery(settings)
        self.dispatcher = CeleryDispatcher(self.celery, settings)
        self.done: list[tuple[str, int]] = []
        self.work: Callable[[Any], None] = lambda message: message.ack()
        self.connect()

    def connect(self) -> None:
        self.connection = self.celery.connection_for_read()
        self.channel = self.connection.channel()
        queue = Queue(self.settings.tick_queue, no_declare=True)
        self.consumer = Consumer(self.channel, [queue], on_message=self._carry_out, auto_declare=False)
        self.consumer.consume()

    def _carry_out(self, message: Any) -> None:
        run_id, version = message.payload[0]
        self.done.append((run_id, version))
        self.work(message)

    def take(self) -> tuple[str, int]:
        wanted = len(self.done) + 1
        while len(self.done) < wanted:
            self.connection.drain_events(timeout=10)
        return self.done[-1]

    def drain(self) -> None:
        while True:
            self.connection.drain_events(timeout=5)

    def close(self) -> None:
        self.connection.release()
        self.dispatcher.close()


def follow_up(message: Any) -> Hint:
    """What a tick publishes about its own run."""
    run_id, version = message.payload[0]
    return Hint(Task.TICK, run_id, version + 1, "n", "w", takes_room=False)


def publishing(worker: Worker, make: Callable[[Any], list[Message]]) -> Callable[[Any], None]:
    """Work that publishes."""

    def work(message: Any) -> None:
        worker.dispatcher.send(make(message))
        message.ack()

    return work
