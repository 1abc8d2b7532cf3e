"""The Redis stream of events, for senders that need a guarantee.

``XADD abstractruntime:events * wait_key evt:session:s1:paid payload '{"amount": 3}'`` is kept by Redis until
a resumer has it in the inbox: entries are read with a consumer group, acknowledged and removed only then, and
taken over from a resumer that died. The entry's id is the event's id, unless the sender gives one.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Mapping
from threading import Event, Thread
from time import monotonic
from typing import Any, cast
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError, ResponseError

__all__ = ["EventStream"]

logger = logging.getLogger(__name__)

BLOCK_S = 1.0
BATCH = 64
BACKOFF_MAX_S = 5.0

Fields = Mapping[bytes, bytes]
Entry = tuple[bytes, "Fields | None"]


class EventStream:
    """Reads the stream in a thread of its own, for ever, whatever Redis does.

    Args:
        redis_url: the server.
        stream: the stream's key.
        deliver: ``(entry id, fields) -> bool``; False leaves the entry to be delivered again later.
        group: the consumer group that all resumers share.
        take_over_s: entries that another resumer has read and not delivered for so long are taken over.
        timeout_s: for connecting.
    """

    def __init__(
        self,
        redis_url: str,
        stream: str,
        deliver: Callable[[str, Fields], bool],
        *,
        group: str = "resumers",
        take_over_s: float = 30.0,
        timeout_s: float = 1.0,
    ) -> None:
        self._redis = Redis.from_url(
            redis_url,
            # A blocking read answers after BLOCK_S at the latest; redis-py's default might cut it.
            socket_timeout=BLOCK_S + 5.0,
            socket_connect_timeout=timeout_s,
            health_check_interval=15,
            retry=None,
        )
        self._stream = stream
        self._deliver = deliver
        self._group = group
        self._consumer = f"{socket.gethostname()}-{os.getpid()}-{uuid4().hex[:8]}"
        self._take_over_s = take_over_s
        self._take_over_at = 0.0
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="event-stream", daemon=True)

    def start(self) -> None:
        """Read in the background."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it reads."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Finish the entry in hand and stop."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(BLOCK_S + 10.0)
        self._redis.close()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                self._make_group()
                while not self._stopping.is_set():
                    self._take_over()
                    self._handle(self._read())
                    failures = 0
                self._leave()
            except ResponseError as exc:
                # FLUSHALL has removed the group, with or without a word about it: make it again.
                logger.warning("event stream '%s': %s; making its group again", self._stream, exc)
                failures += 1
            except (RedisError, OSError) as exc:
                if failures == 0:
                    logger.warning("event stream: Redis is away, connecting again: %s", exc)
                failures += 1
            if failures:
                self._stopping.wait(min(0.05 * 2.0**failures, BACKOFF_MAX_S))

    def _make_group(self) -> None:
        try:
            # From the first entry: those that came before the group are nobody else's.
            self._redis.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except ResponseError as exc:
            if "BUSYGROUP" not in str(exc):
                raise

    def _read(self) -> list[Entry]:
        answer: Any = self._redis.xreadgroup(
            self._group, self._consumer, {self._stream: ">"}, count=BATCH, block=int(BLOCK_S * 1000)
        )
        if isinstance(answer, dict):  # RESP3
            return [entry for batches in answer.values() for batch in batches for entry in batch]
        return [entry for _stream, entries in answer or () for entry in entries]

    def _take_over(self) -> None:
        """Entries of resumers that died, and those that could not be delivered before."""
        if monotonic() < self._take_over_at:
            return
        cursor: Any = "0-0"
        while not self._stopping.is_set():
            answer: Any = self._redis.xautoclaim(
                self._stream,
                self._group,
                self._consumer,
                min_idle_time=int(self._take_over_s * 1000),
                start_id=cursor,
                count=BATCH,
            )
            cursor, entries = answer[0], answer[1]
            self._handle(entries)
            if cursor in (b"0-0", "0-0"):
                break
        self._take_over_at = monotonic() + self._take_over_s / 3.0

    def _handle(self, entries: list[Entry]) -> None:
        for entry_id, fields in entries:
            if self._stopping.is_set():
                return  # they stay pending, another resumer takes them over
            if fields is None or self._deliver(entry_id.decode(), fields):
                with self._redis.pipeline() as together:
                    together.xack(self._stream, self._group, entry_id)
                    together.xdel(self._stream, entry_id)
                    together.execute()

    def _leave(self) -> None:
        """Remove this consumer's name, unless entries are still pending under it."""
        pending = self._redis.xpending_range(
            self._stream, self._group, "-", "+", 1, consumername=self._consumer
        )
        if not cast("list[Any]", pending):
            self._redis.xgroup_delconsumer(self._stream, self._group, self._consumer)
