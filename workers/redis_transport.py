"""Kombu's Redis transport, for messages that are hints.

**What a worker has taken is not written down in Redis.** Kombu keeps every message between its delivery and
its acknowledgement in a hash of Redis, so that it comes back after the visibility timeout (a quarter of an
hour) if the worker died. For a tick that costs as much as the step itself and gives nothing: the sweep finds
the run by its ``wake_at`` long before (`DESIGN §1.1`). So such messages are remembered by the worker alone,
and put back into their queue when it closes its channel. Messages that a worker holds for long, which are
those with an ETA, and tasks that are not this fleet's stay as kombu has them.

**Closed connections say that they are closed.** Kombu 5.7 answers AttributeError to whoever uses a channel
whose connection was lost and let go, for example to acknowledge a message whose task has just ended. Celery
expects a connection error there; anything else ends the worker, and with it all effects that are in flight.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.connection import Connection
from kombu.transport import redis, virtual
from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import loads
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from .carried import carried_by_this_thread, carrying_connection, delivering
from .helpings import Helpings

__all__ = ["Channel", "TlsTransport", "Transport", "transport_for"]

logger = logging.getLogger(__name__)

HINTS = "abstractruntime."
"""What the names of tasks begin with whose messages are hints."""


def _is_for_now(message: virtual.Message) -> bool:
    """Whether the message is a hint that is carried out as soon as it is taken."""
    headers = message.headers or {}
    return str(headers.get("task", "")).startswith(HINTS) and not headers.get("eta")


class QoS(redis.QoS):  # type: ignore[misc]  # kombu ships no types
    """What this worker has taken and not acknowledged. Acknowledgements may come from other threads."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._remembered: dict[str, virtual.Message] = {}

    def append(self, message: virtual.Message, delivery_tag: str) -> None:
        if not _is_for_now(message):
            super().append(message, delivery_tag)
            return
        self._remembered[delivery_tag] = message
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        if self._remembered.pop(delivery_tag, None) is None:
            super().ack(delivery_tag)
        else:
            virtual.QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        message = self._remembered.pop(delivery_tag, None)
        if message is None:
            super().reject(delivery_tag, requeue=requeue)
            return
        if requeue:
            with self.channel.conn_or_acquire() as client:
                self._put_back(message, client, leftmost=True)
        virtual.QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Redis | None = None) -> None:
        """Put everything back. Without Redis that fails, and the sweep sends what is due."""
        remembered, self._remembered = self._remembered, {}
        for tag in remembered:
            self._delivered.pop(tag, None)
        try:
            with self.channel.conn_or_acquire(client) as found:
                for message in remembered.values():
                    self._put_back(message, found)
                super().restore_unacked(found)
        except self.channel.connection_errors as exc:
            logger.warning("broker away, what this worker had taken is left to the sweep: %s", exc)

    def _put_back(self, message: virtual.Message, client: Redis, *, leftmost: bool = False) -> None:
        where = message.delivery_info
        self.channel._do_restore_message(
            message._raw, where["exchange"], where["routing_key"], client, leftmost
        )


class Channel(redis.Channel):  # type: ignore[misc]  # kombu ships no types
    """A channel that may have outlived its connection, whose requests carry hints (see `carried`), and which
    takes several messages at a time from a long queue (see `helpings`)."""

    QoS = QoS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._helpings = Helpings()
        self._taken: deque[tuple[str, bytes]] = deque()
        super().__init__(*args, **kwargs)

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("this connection to the broker was lost and let go")
        params: dict[str, Any] = super()._connparams(asynchronous)
        if asynchronous:
            params["connection_class"] = carrying_connection(params["connection_class"], self)
        return params

    def questions(self) -> list[tuple[str, ...]]:
        """How long the queue is, and some of its messages if it was long when it was asked for last."""
        carried = carried_by_this_thread(also_idle=True)
        if carried is None or not carried.has_carried or len(self._active_queues) != 1:
            return []
        queue = self._active_queues[0]
        more = self._helpings.more()
        asked: list[tuple[str, ...]] = [("LLEN", queue)]
        return [*asked, ("RPOP", queue, str(more))] if more else asked

    def answered(self, command: tuple[str, ...], answer: object) -> None:
        """See `questions`. A server that knows no ``RPOP`` of several (before 6.2) has one at a time."""
        name, queue, *_ = command
        if name == "LLEN" and isinstance(answer, int):
            self._helpings.see(answer)
        elif name == "RPOP" and isinstance(answer, list):
            self._taken.extend((queue, item) for item in answer)

    def _brpop_read(self, **options: Any) -> object:
        has_reply = self._has_reply()
        while self._taken:
            self._deliver_taken()
        if not has_reply:
            return None
        with self._working():
            return super()._brpop_read(**options)

    def _has_reply(self) -> bool:
        """Whether more has arrived than answers to what the request took along."""
        connection = self.client.connection
        if not connection.is_answer_due:
            return True
        try:
            connection.read_answers()
            return bool(connection.can_read(timeout=0))
        except self.connection_errors:
            connection.disconnect()
            raise

    def _deliver_taken(self) -> None:
        queue, item = self._taken.popleft()
        with self._working():
            self.connection._deliver(loads(bytes_to_str(item)), queue)

    @contextmanager
    def _working(self) -> Iterator[None]:
        self._helpings.begin()
        with delivering():
            yield
        self._helpings.end()

    def flush(self) -> None:
        """Send what is carried without a request; a failure leaves it to the next one."""
        carried = carried_by_this_thread(also_idle=True)
        if not carried:
            return
        try:
            with self.conn_or_acquire() as client:
                carried.flush(client)
        except self.connection_errors as exc:
            logger.warning("broker away, %d hint(s) wait for it: %s", len(carried), exc)

    def _basic_cancel(self, consumer_tag: str) -> object:
        cancelled = super()._basic_cancel(consumer_tag)
        if not self.active_queues:
            self.flush()
            self._give_back()
        return cancelled

    def _give_back(self) -> None:
        """What was taken and not begun goes to the front of its queue."""
        taken, self._taken = self._taken, deque()
        try:
            with self.conn_or_acquire() as client:
                for queue, item in reversed(taken):
                    client.rpush(queue, item)
        except self.connection_errors as exc:
            logger.warning("broker away, %d hint(s) left to the sweep: %s", len(taken), exc)


class Poller(redis.MultiChannelPoller):  # type: ignore[misc]  # kombu ships no types
    """Asks for the next messages, of the channels that may have one."""

    def on_poll_start(self) -> None:
        super().on_poll_start()
        carried = carried_by_this_thread(also_idle=True)
        if carried is not None and carried.waiting:  # nobody asked, so nobody took it along
            for channel in self._channels:
                channel.flush()


class Transport(redis.Transport):  # type: ignore[misc]  # kombu ships no types
    """What ``broker_transport`` names."""

    Channel = Channel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.cycle = Poller()


class TlsTransport(Transport):
    """The same for ``rediss://``; a class of its own, because a class has one name in URLs."""


def transport_for(url: str) -> str | None:
    """Celery's ``broker_transport`` for a broker; ``None``: what its URL says."""
    scheme, found, _ = url.partition("://")
    return _PATHS.get(scheme) if found else None


_PATHS = {
    "redis": f"{__name__}:{Transport.__name__}",
    "rediss": f"{__name__}:{TlsTransport.__name__}",
}
# In logs and in Flower the broker keeps its own URL.
Connection.resolve_aliases.update({path: scheme for scheme, path in _PATHS.items()})
