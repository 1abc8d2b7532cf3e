"""Publishing hints through Celery's broker, within a time budget (`DESIGN §3.5`).

Messages go to the broker's default exchange with the queue's name as routing key: kombu keeps the bindings
of other exchanges in Redis itself, so a flushed broker would swallow what is published through them
(`RESEARCH §7`). Connections and producers are kept per thread; after a failure nothing is published for a
moment, so that a broker that is away costs a caller one time budget and not one per message.

A hint for later is a Celery ETA message, at most a timer's horizon away (`timekeeper` bounds their number).
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from time import monotonic
from uuid import uuid4

from celery import Celery
from kombu import Connection, Producer
from kombu.exceptions import KombuError
from redis import Redis
from redis.exceptions import RedisError

from abstractruntime.storage.checkpoints import Task

from . import metrics
from .carried import carried_by_this_thread
from .hint_messages import celery_message, redis_entry
from .hints import Announcement, Hint, Message
from .queue_depth import QueueDepth
from .settings import Settings

__all__ = ["CeleryDispatcher", "signals_client"]

logger = logging.getLogger(__name__)

PAUSE_AFTER_FAILURE_S = 1.0
_CONNECTION_ERRORS = (OSError, RedisError, KombuError)
AT_ONCE = 100
"""Hints in one command at most."""


def signals_client(settings: Settings) -> Redis:
    """A Redis connection for signals; short time-outs, no retries: a signal is only a hint."""
    return Redis.from_url(
        settings.redis_url,
        socket_timeout=settings.publish_timeout,
        socket_connect_timeout=settings.publish_timeout,
        retry=None,
    )


class CeleryDispatcher:
    """`Dispatcher` over a Celery app's broker and Redis pub/sub. Safe for threads and after fork."""

    def __init__(self, celery: Celery, settings: Settings) -> None:
        self._celery = celery
        self._queues = {Task.TICK: settings.tick_queue, Task.EFFECT: settings.effect_queue}
        self._is_redis = settings.broker.startswith(("redis", "unix"))
        self._is_one_redis = self._is_redis and settings.broker == settings.redis_url
        self._ended_channel = settings.ended_channel
        self._settings = settings
        self._local = threading.local()
        self._inherited: threading.local | None = None
        self._pid = os.getpid()
        self._silent_until = 0.0
        self._origin = f"abstractruntime-{uuid4().hex[:8]}"
        self._depth = QueueDepth(settings.queue_limit, self._measure)

    def send(self, messages: Sequence[Message]) -> None:
        """Publish; a broker that is away is logged and counted, never raised."""
        self._leave_parents_connections()
        if self._let_carry(messages):
            return
        if monotonic() < self._silent_until:
            metrics.count("hints_unsent", len(messages))
            return
        try:
            self._send_all(messages)
        except _CONNECTION_ERRORS:
            # A kept connection may have died of a broker restart: one more try, over a new one.
            self.close()
            try:
                self._send_all(messages)
            except _CONNECTION_ERRORS as exc:
                self.close()
                self._silent_until = monotonic() + PAUSE_AFTER_FAILURE_S
                metrics.count("hints_unsent", len(messages))
                logger.warning("broker away, %d hint(s) left to the sweep: %s", len(messages), exc)

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        """See `Dispatcher.is_full`. A broker that is away takes nothing."""
        if not look:
            return self._depth.is_full(task)
        self._leave_parents_connections()
        if monotonic() < self._silent_until:
            return True
        try:
            self._depth.look(task)
        except _CONNECTION_ERRORS:
            self.close()
            try:
                self._depth.look(task)
            except _CONNECTION_ERRORS as exc:
                self.close()
                self._silent_until = monotonic() + PAUSE_AFTER_FAILURE_S
                logger.warning("broker away, what is due waits for it: %s", exc)
                return True
        return self._depth.is_full(task)

    def _measure(self, task: Task) -> int:
        channel, queue = self._producer().channel, self._queues[task]
        if self._is_redis:
            return int(channel.client.llen(queue))
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except channel.connection.client.channel_errors:
            self.close()  # no worker has made the queue yet; the broker has closed the channel
            return 0

    def _leave_parents_connections(self) -> None:
        if self._pid != os.getpid():
            # Forked: the connections are the parent's, who goes on using them.
            self._inherited, self._local, self._pid = self._local, threading.local(), os.getpid()

    def _let_carry(self, messages: Sequence[Message]) -> bool:
        """Whether the messages leave with this worker's next request (see `carried`): those of a task about
        its own run, which make no queue longer."""
        carried = carried_by_this_thread() if self._is_one_redis else None
        if carried is None or not carried.has_room_for(len(messages)):
            return False
        if any(
            isinstance(message, Hint) and (message.takes_room or not message.first) for message in messages
        ):
            return False
        for message in messages:
            if isinstance(message, Announcement):
                carried.add("PUBLISH", self._ended_channel + message.run_id, "ended")
            elif isinstance(message, Hint):
                queue = self._queues[message.task]
                carried.add("LPUSH", queue, redis_entry(message, self._origin, queue))
                metrics.count("hints_sent", task=message.task.value)
        return True

    def _send_all(self, messages: Sequence[Message]) -> None:
        unsent: list[Hint] = []
        for message in messages:
            if isinstance(message, Announcement):
                self._announce(message)
            elif isinstance(message, Hint):
                if message.takes_room and not self._depth.has_room_for_one(message.task, len(unsent)):
                    metrics.count("hints_withheld", task=message.task.value)
                    continue
                unsent.append(message)
                if len(unsent) >= AT_ONCE:
                    self._publish(unsent)
                    unsent = []
        if unsent:
            self._publish(unsent)

    def _publish(self, hints: list[Hint]) -> None:
        if self._is_redis:
            self._push(hints)
        else:
            for hint in hints:
                self._produce(hint)
        for hint in hints:
            metrics.count("hints_sent", task=hint.task.value)

    def _push(self, hints: list[Hint]) -> None:
        """One command for all hints of a queue."""
        client = self._producer().channel.client
        for task, queue in self._queues.items():
            entries = [redis_entry(hint, self._origin, queue) for hint in hints if hint.task is task]
            if entries:
                client.lpush(queue, *entries)

    def _produce(self, hint: Hint) -> None:
        body, headers = celery_message(hint, self._origin)
        self._producer().publish(
            body,
            routing_key=self._queues[hint.task],
            exchange="",
            serializer="json",
            headers=headers,
            correlation_id=headers["id"],
            retry=False,
            delivery_mode=2,
        )

    def _announce(self, announcement: Announcement) -> None:
        self._signals().publish(self._ended_channel + announcement.run_id, "ended")

    def _producer(self) -> Producer:
        producer: Producer | None = getattr(self._local, "producer", None)
        if producer is None:
            connection = self._connect()
            producer = Producer(connection.default_channel, auto_declare=False)
            self._local.connection, self._local.producer = connection, producer
        return producer

    def _connect(self) -> Connection:
        connection = self._celery.connection_for_write(
            connect_timeout=self._settings.publish_timeout,
            transport_options={
                **self._celery.conf.broker_transport_options,
                "socket_timeout": self._settings.publish_timeout,
                "socket_connect_timeout": self._settings.publish_timeout,
                "max_retries": 0,
            },
        )
        # Without pauses between its tries: Kombu's default of 2 s would be the caller's.
        connection.ensure_connection(
            max_retries=1, interval_start=0, interval_step=0, timeout=self._settings.publish_timeout
        )
        return connection

    def _signals(self) -> Redis:
        client: Redis | None = getattr(self._local, "signals", None)
        if client is None:
            client = self._local.signals = signals_client(self._settings)
        return client

    def close(self) -> None:
        """Drop this thread's connections; they are made again when needed."""
        connection = getattr(self._local, "connection", None)
        self._local.__dict__.clear()
        if connection is not None:
            try:
                connection.release()
            except Exception:
                logger.debug("closing a broken broker connection failed", exc_info=True)
