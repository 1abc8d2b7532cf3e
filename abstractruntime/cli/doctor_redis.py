"""The doctor's checks of Redis (or Valkey): the broker's safety, queues and who listens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from workers.settings import Settings

from .findings import Finding, Level

__all__ = ["examine_redis"]

_OLDEST = (6, 2)
_TIMEOUT_S = 3.0
_MANY = 10_000


def examine_redis(settings: Settings) -> Iterator[Finding]:
    """Findings about ``redis_url``, and about the broker when it is another one."""
    if settings.broker != settings.redis_url:
        yield _other_broker(settings)
    client = Redis.from_url(
        settings.redis_url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=None
    )
    try:
        info: Mapping[str, Any] = client.info()
    except (RedisError, OSError) as exc:
        yield Finding(
            Level.BAD,
            f"Redis at {_address(client)} can't be reached: {exc}",
            "start it ('abstractruntime dev' brings its own), or correct REDIS_URL",
        )
        return
    try:
        yield from _server(info, _address(client))
        if settings.broker == settings.redis_url:
            yield from _queues(client, settings)
        yield _listeners(client, settings)
    except (RedisError, OSError) as exc:
        yield Finding(
            Level.WARN, f"Redis refused to be examined: {exc}", "allow INFO, LLEN and PUBSUB to this user"
        )
    finally:
        client.close()


def _address(client: Redis) -> str:
    given = client.connection_pool.connection_kwargs
    return str(given.get("path") or f"{given.get('host')}:{given.get('port')}/{given.get('db', 0)}")


def _server(info: Mapping[str, Any], address: str) -> Iterator[Finding]:
    name = "Valkey" if info.get("server_name") == "valkey" else "Redis"
    version = str(info.get("valkey_version") or info.get("redis_version") or "0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < _OLDEST:
        yield Finding(Level.BAD, f"{name} {version} at {address} is too old", "use 6.2 or newer")
    else:
        yield Finding(Level.OK, f"{name} {version} at {address}")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        yield Finding(
            Level.BAD,
            f"{name} may evict messages: maxmemory-policy is {policy}",
            "CONFIG SET maxmemory-policy noeviction (and in its configuration file)",
        )
    if not info.get("aof_enabled"):
        yield Finding(
            Level.WARN,
            f"{name} forgets its queues when it restarts (no append-only file); the sweep repairs it",
            "CONFIG SET appendonly yes (and in its configuration file)",
        )


def _queues(client: Redis, settings: Settings) -> Iterator[Finding]:
    lengths = {name: _length(client, name) for name in (settings.tick_queue, settings.effect_queue)}
    told = ", ".join(f"{name} {length}" for name, length in lengths.items())
    if max(lengths.values()) > _MANY:
        yield Finding(Level.WARN, f"queues are long: {told}", "start more workers for them")
    else:
        yield Finding(Level.OK, f"queues: {told}")


def _length(client: Redis, queue: str) -> int:
    length: Any = client.llen(queue)
    return int(length)


def _listeners(client: Redis, settings: Settings) -> Finding:
    patterns: Any = client.pubsub_numpat()
    if int(patterns) > 0:
        return Finding(Level.OK, "a resumer listens")
    return Finding(
        Level.WARN,
        f"no resumer listens on {settings.event_channel}*: events that are only published are lost",
        "start one ('abstractruntime resumer'); events sent through the client arrive without it",
    )


def _other_broker(settings: Settings) -> Finding:
    from kombu import Connection
    from kombu.exceptions import KombuError

    with Connection(settings.broker, connect_timeout=_TIMEOUT_S) as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_TIMEOUT_S)
        except (KombuError, OSError) as exc:
            return Finding(
                Level.BAD,
                f"the broker {connection.as_uri()} can't be reached: {exc}",
                "start it, or correct ABSTRACTRUNTIME_BROKER_URL",
            )
        return Finding(Level.OK, f"broker {connection.as_uri()}")
