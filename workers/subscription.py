"""One pub/sub connection, kept up by a thread of its own, with channels that come and go.

Only that thread touches the connection. Another thread that adds a channel leaves it a note and wakes it
through a channel of its own, so nothing here leans on redis-py's inner locks. redis-py 8 cuts reads after
five seconds unless told otherwise (`RESEARCH §1.13`); here a read waits a second for the first byte, a
silent connection is asked for a sign of life, and a dead one is made again for ever.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Event, Lock, Thread
from time import monotonic
from uuid import uuid4

from redis import ConnectionPool, Redis
from redis.connection import ConnectionInterface
from redis.exceptions import RedisError

__all__ = ["Subscription"]

logger = logging.getLogger(__name__)

READ_S = 1.0
PING_AFTER_S = 10.0
DEAD_AFTER_S = 20.0
BACKOFF_MAX_S = 5.0


class Subscription:
    """Messages of some channels and patterns, handed to callbacks in this subscription's thread.

    Args:
        redis_url: the server.
        on_message: ``(channel, data)`` for every message.
        on_subscribed: ``(channel or pattern)`` once the server has confirmed it; again after a reconnect.
        on_lost: the connection is gone; messages may be missed until ``on_subscribed``.
        patterns: subscribed from the start.
        timeout_s: for connecting and for commands.
        name: of the thread.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None] | None = None,
        on_lost: Callable[[], None] | None = None,
        patterns: tuple[str, ...] = (),
        timeout_s: float = 1.0,
        name: str = "subscription",
    ) -> None:
        self._pool = ConnectionPool.from_url(
            redis_url,
            socket_timeout=max(timeout_s, READ_S) * 5.0,
            socket_connect_timeout=timeout_s,
            health_check_interval=0,
            retry=None,
            protocol=2,
        )
        self._signals = Redis.from_url(
            redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None
        )
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._on_lost = on_lost
        self._patterns = patterns
        self._wake_channel = f"abstractruntime:wake:{uuid4().hex}"
        self._lock = Lock()
        self._wanted: set[str] = set()
        self._changed = False
        self._stopping = Event()
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self.is_connected = False

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Connect in the background."""
        self._thread.start()

    def add(self, *channels: str) -> None:
        """Listen to more channels soon; `on_subscribed` tells when."""
        with self._lock:
            self._wanted.update(channels)
        self._wake()

    def remove(self, *channels: str) -> None:
        """Listen to these no more."""
        with self._lock:
            self._wanted.difference_update(channels)
            # Nobody waits for an UNSUBSCRIBE: it goes with the next change or look.
            self._changed = True

    def close(self) -> None:
        """End the thread and the connection."""
        self._stopping.set()
        self._wake()
        if self._thread.is_alive():
            self._thread.join(READ_S * 5.0)
        self._signals.close()
        self._pool.disconnect()

    def _wake(self) -> None:
        with self._lock:
            if not self.is_connected:
                return
            self._changed = True
        try:
            self._signals.publish(self._wake_channel, b"")
        except (RedisError, OSError):
            logger.debug("waking the subscription failed; it looks by itself soon", exc_info=True)

    # -- the thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            connection = self._pool.make_connection()
            try:
                connection.connect()  # type: ignore[no-untyped-call]  # redis-py has no types here
                failures = 0
                self._serve(connection)
            except (RedisError, OSError) as exc:
                failures += 1
                if failures == 1:
                    logger.warning("Redis subscription lost, connecting again: %s", exc)
            finally:
                self._lost()
                connection.disconnect()  # type: ignore[no-untyped-call]
            self._stopping.wait(0.0 if failures == 0 else min(0.05 * 2.0**failures, BACKOFF_MAX_S))

    def _lost(self) -> None:
        with self._lock:
            was_connected, self.is_connected = self.is_connected, False
        if was_connected and self._on_lost is not None:
            self._on_lost()

    def _serve(self, connection: ConnectionInterface) -> None:
        listening: set[str] = set()
        _send(connection, "SUBSCRIBE", self._wake_channel)
        if self._patterns:
            _send(connection, "PSUBSCRIBE", *self._patterns)
        with self._lock:
            self.is_connected = True
            self._changed = True
        heard_at = monotonic()
        asked = False
        while not self._stopping.is_set():
            self._follow_changes(connection, listening)
            if connection.can_read(timeout=READ_S):
                self._handle_safely(connection.read_response(disconnect_on_error=False))
                heard_at, asked = monotonic(), False
                continue
            silence = monotonic() - heard_at
            if silence > DEAD_AFTER_S:
                raise TimeoutError(f"no sign of life for {silence:.0f} s")
            if silence > PING_AFTER_S and not asked:
                _send(connection, "PING")
                asked = True

    def _follow_changes(self, connection: ConnectionInterface, listening: set[str]) -> None:
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            more, fewer = self._wanted - listening, listening - self._wanted
            listening |= more
            listening -= fewer
        if more:
            _send(connection, "SUBSCRIBE", *more)
        if fewer:
            _send(connection, "UNSUBSCRIBE", *fewer)

    def _handle_safely(self, frame: object) -> None:
        try:
            self._handle(frame)
        except Exception:
            # One listener's fault must not deafen the others.
            logger.exception("handling a message failed")

    def _handle(self, frame: object) -> None:
        if not isinstance(frame, list) or not frame:
            return
        kind = _text(frame[0])
        if kind in ("message", "pmessage"):
            channel = _text(frame[-2])
            if channel != self._wake_channel:
                data = frame[-1]
                self._on_message(channel, data if isinstance(data, bytes) else str(data).encode())
        elif kind in ("subscribe", "psubscribe") and self._on_subscribed is not None:
            channel = _text(frame[1])
            if channel != self._wake_channel:
                self._on_subscribed(channel)


def _send(connection: ConnectionInterface, *command: str) -> None:
    # No health check: it would read the next message as its answer.
    connection.send_command(*command, check_health=False)  # type: ignore[no-untyped-call]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
