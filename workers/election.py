"""Which of several resumers delivers a published message that has no id of its own.

Redis gives pub/sub messages no id: two equal messages are two events, and ten resumers that hear one message
must deliver it once. So one of them is *active*. A lease in Redis decides who should be; alone it would leave
a gap or an overlap wherever one resumer lags behind another. Therefore being active is a place in the stream
of messages itself: who has won the lease publishes a marker on a channel that all of them read on the same
connection as the events, and a resumer is active from its own marker to the marker of another. Redis keeps
one order for everybody, so a message lies before a marker or after it: no two resumers deliver it, however
long one of them was frozen.

What is lost when the active resumer dies are id-less messages until another has won the lease, as is usual
with pub/sub. On a graceful end it stays active until it reads its successor's marker: nothing is lost then.
"""

from __future__ import annotations

import logging
from threading import Event, Thread
from uuid import uuid4

from redis import Redis
from redis.exceptions import RedisError

__all__ = ["Election"]

logger = logging.getLogger(__name__)

_RENEW = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) end
return 0
"""
_RELEASE = """
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
"""
_VACANT = b"vacant"
HANDOVER_S = 1.0


class Election:
    """One resumer's part in the election.

    Args:
        redis_url: the server.
        key: of the lease.
        channel: of the markers; the resumer must read it on the connection of its events, and hand what
            it reads to `hear`.
        lease_s: a dead resumer's successor is active after at most this and a quarter.
        timeout_s: for Redis commands.
    """

    def __init__(
        self, redis_url: str, *, key: str, channel: str, lease_s: float = 2.0, timeout_s: float = 1.0
    ) -> None:
        self.channel = channel
        self.token = uuid4().hex
        self._key = key
        self._lease_s = lease_s
        self._redis = Redis.from_url(
            redis_url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=None
        )
        self._holds = False
        self._marked = False
        self.is_connected = False
        self._stopping = Event()
        self._nudge = Event()
        self._superseded = Event()
        self._thread = Thread(target=self._run, name="election", daemon=True)

    @property
    def is_active(self) -> bool:
        """Whether a message that was just read is this resumer's to deliver."""
        return self._marked

    @property
    def is_alive(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Take part, in the background."""
        self._thread.start()

    # -- told by the reader of the channel --------------------------------------------------------

    def hear(self, data: bytes) -> None:
        """A marker was read."""
        if data == _VACANT:
            self._nudge.set()
            return
        mine = data == self.token.encode()
        if not mine and self._marked:
            self._superseded.set()
        self._marked = mine

    def connected(self) -> None:
        """The reader hears the channel (again)."""
        self.is_connected = True
        self._nudge.set()

    def disconnected(self) -> None:
        """The reader may have missed messages: it is not active until it has read a marker of its own."""
        self.is_connected = False
        self._marked = False
        self._nudge.set()

    # -- the lease --------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._strive()
            except (RedisError, OSError) as exc:
                logger.debug("election: Redis is away: %s", exc)
            self._nudge.wait(self._lease_s / 4.0)
            self._nudge.clear()

    def _strive(self) -> None:
        if not self.is_connected:
            # A deaf resumer must not keep the others from hearing.
            if self._holds:
                self._release()
            return
        if not self._holds or not self._renewed():
            self._holds = bool(self._redis.set(self._key, self.token, nx=True, px=self._milliseconds()))
        if self._holds and not self._marked:
            self._redis.publish(self.channel, self.token)

    def _renewed(self) -> bool:
        return bool(self._redis.eval(_RENEW, 1, self._key, self.token, self._milliseconds()))

    def _release(self) -> None:
        self._holds = False
        if self._redis.eval(_RELEASE, 1, self._key, self.token):
            self._redis.publish(self.channel, _VACANT)

    def _milliseconds(self) -> int:
        return int(self._lease_s * 1000)

    def resign(self) -> None:
        """Hand over: give the lease back and stay active until another's marker is read, or a second."""
        self._stopping.set()
        self._nudge.set()
        if self._thread.is_alive():
            self._thread.join(self._lease_s + 5.0)
        if self._holds:
            try:
                self._release()
                self._superseded.wait(HANDOVER_S)
            except (RedisError, OSError) as exc:
                logger.debug("election: the lease runs out by itself: %s", exc)
        self._marked = False
        self._redis.close()
