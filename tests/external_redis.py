"""A Redis of the developer's own (`REDIS_URL`) as a test server: it must not lose anybody's data."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import pytest


class ExternalRedis:
    """One empty logical database of somebody's server, for one test process.

    Tests flush their database, so one that holds keys already is never taken. Worker i of n looks only at the
    databases i, i + n, ... counted from the one the URL names, so that parallel workers never meet.
    """

    def __init__(self, url: str, *, worker: int, workers: int) -> None:
        import redis

        parts = urlsplit(url)
        first = int(parts.path.strip("/") or 0)
        with redis.Redis.from_url(url) as client:
            count = int(client.config_get("databases")["databases"])
            used = {int(name.removeprefix("db")) for name in client.info("keyspace")}
        empty = [index for index in range(first + worker, count, workers) if index not in used]
        if not empty:
            pytest.fail(
                f"REDIS_URL: test process {worker + 1} of {workers} finds no empty logical database among "
                f"{first}..{count - 1}. Tests flush the database they use and won't take one with keys: "
                "empty one, name a lower one, or run with fewer workers."
            )
        self.url = urlunsplit(parts._replace(path=f"/{empty[0]}"))

    def flush(self) -> None:
        import redis

        with redis.Redis.from_url(self.url) as client:
            client.flushdb()
