"""Real servers and fresh databases for tests.

Each test process (each xdist worker too) starts servers of its own, at the first test that asks for one: a
Valkey takes a tenth of a second and a PostgreSQL about one, and a test may then flush, kill or freeze its
server without disturbing a neighbour. `REDIS_URL` and `DATABASE_URL` point `redis_url` and `postgres_url`
at servers of your own instead; the wheels are not needed then.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.core import handler_parts
from abstractruntime.testing.databases import create_database, drop_database
from abstractruntime.testing.servers import PostgresServer, ServerMissingError, ValkeyServer
from tests.external_redis import ExternalRedis

# So many tests in a row get a logical database that no earlier test's left-over process writes to.
_LOGICAL_DATABASES = 1024


@pytest.fixture(autouse=True)
def _without_abstractcore(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether AbstractCore happens to be installed must not change what tests of other areas see: where it
    is, prompts are grounded (`spec/01 §11.4`)."""
    if "abstractcore" not in request.path.parts:
        monkeypatch.setattr(handler_parts, "_has_abstractcore", lambda: False)


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[ValkeyServer]:
    """This test process's own Valkey. A test may stop or kill it: `redis_url` starts it again."""
    server = ValkeyServer(die_with_parent=True, config={"databases": str(_LOGICAL_DATABASES)})
    try:
        server.start()
    except ServerMissingError as missing:
        server.close()
        pytest.skip(str(missing))
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """This test process's own PostgreSQL. A test may stop or kill it: `postgres_url` starts it again."""
    server = PostgresServer()
    try:
        server.start()
    except ServerMissingError as missing:
        server.close()
        pytest.skip(str(missing))
    yield server
    server.close()


@pytest.fixture(scope="session")
def _external_redis() -> Iterator[ExternalRedis]:
    pytest.importorskip("redis", reason="REDIS_URL needs redis-py: install abstractruntime[fleet]")
    external = ExternalRedis(
        os.environ["REDIS_URL"],
        worker=int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")),
        workers=int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")),
    )
    external.flush()
    yield external
    external.flush()


@pytest.fixture(scope="session")
def _logical_database() -> Iterator[int]:
    return itertools.cycle(range(_LOGICAL_DATABASES))


@pytest.fixture
def redis_url(request: pytest.FixtureRequest) -> str:
    """`redis://` URL of an empty logical database. Pub/sub channels are the server's: they know no
    databases."""
    if os.environ.get("REDIS_URL"):
        external: ExternalRedis = request.getfixturevalue("_external_redis")
        external.flush()
        return external.url
    server: ValkeyServer = request.getfixturevalue("valkey_server")
    server.ensure_running()
    import redis

    url = server.url_for(next(request.getfixturevalue("_logical_database")))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def postgres_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """`postgresql+psycopg://` URL of an empty database of this test's own, dropped after it."""
    server: PostgresServer | None = None
    if not os.environ.get("DATABASE_URL"):
        server = request.getfixturevalue("postgres_server")

    def server_url() -> str:
        if server is None:
            return os.environ["DATABASE_URL"]
        server.ensure_running()
        return server.url

    name = f"ar_test_{uuid.uuid4().hex}"
    yield create_database(server_url(), name)
    drop_database(server_url(), name)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """`sqlite:///` URL of a file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'runtime.sqlite3'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each system in turn."""
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url
