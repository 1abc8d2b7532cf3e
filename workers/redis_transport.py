"""Kombu's Redis transport, whose closed connections say that they are closed.

Kombu 5.7 answers AttributeError to whoever uses a channel whose connection was lost and let go, for example
to acknowledge a message whose task has just ended. Celery expects a connection error there; anything else
ends the worker, and with it all effects that are in flight.
"""

from __future__ import annotations

from typing import Any

from kombu.connection import Connection
from kombu.transport import redis
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = ["Channel", "TlsTransport", "Transport", "transport_for"]


class Channel(redis.Channel):  # type: ignore[misc]  # kombu ships no types
    """A channel that may have outlived its connection."""

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise RedisConnectionError("this connection to the broker was lost and let go")
        params: dict[str, Any] = super()._connparams(asynchronous)
        return params


class Transport(redis.Transport):  # type: ignore[misc]  # kombu ships no types
    """What ``broker_transport`` names."""

    Channel = Channel


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
