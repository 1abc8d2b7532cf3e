"""Calls are durable and prompt whatever the broker does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.app import App
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.servers import ValkeyServer
from tests.poll import eventually
from workers.client import Client
from workers.settings import Settings

BUDGET_S = 1.0  # far above what a start takes on a busy machine: the test tells them apart


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    """A broker of this test's own, to be frozen and killed."""
    with ValkeyServer(die_with_parent=True) as server:
        yield server


@pytest.fixture
def broker_client(
    database_url: str, fleet_app: App, fleet_store: SqlCheckpointStore, server: ValkeyServer
) -> Iterator[Client]:
    settings = Settings(database_url=database_url, redis_url=server.url, publish_timeout=BUDGET_S)
    with Client(fleet_app, settings=settings, store=fleet_store) as opened:
        yield opened


def _queued(client: Client) -> int:
    import redis

    with redis.Redis.from_url(client.settings.redis_url) as connection:
        length = connection.llen(client.settings.tick_queue)
        assert isinstance(length, int)
        return length


def _timed_start(client: Client, run_id: str) -> float:
    began = time.monotonic()
    client.start("ask", run_id=run_id)
    return time.monotonic() - began


@pytest.mark.chaos
def test_a_frozen_broker_costs_one_time_budget(broker_client: Client, server: ValkeyServer) -> None:
    client = broker_client
    assert _timed_start(client, "warm") < 5.0
    assert _queued(client) == 1
    os.kill(server.pid, signal.SIGSTOP)
    try:
        # One failed publish over the old connection, one over a new one.
        assert _timed_start(client, "frozen-1") < 4 * BUDGET_S + 1.0
        assert _timed_start(client, "frozen-2") < BUDGET_S
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert client.get("frozen-1").status is RunStatus.RUNNING

    def published() -> bool:
        before = _queued(client)
        client.start("ask")
        return _queued(client) > before

    eventually(published, message="hints flow again")


@pytest.mark.chaos
def test_a_dead_broker_loses_nothing(broker_client: Client, server: ValkeyServer) -> None:
    client = broker_client
    client.start("ask", run_id="a")
    server.kill()
    assert _timed_start(client, "b") < 4 * BUDGET_S + 1.0
    assert [run.run_id for run in client.cancel("b")] == ["b"]
    assert client.emit_event("paid", session_id="s1").accepted
    assert client.pause("a").status is RunStatus.WAITING
    assert client.unpause("a").status is RunStatus.RUNNING
    checkpoint = client.checkpoint("a")
    assert checkpoint.wake_at is not None


FORKING = """
import os, sys
from workers.client import Client
client = Client("tests.fleet.flows:app")
client.start("ask", run_id="before")
child = os.fork()
client.start("ask", run_id="child" if child == 0 else "parent")
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
client.start("ask", run_id="after")
client.close()
"""


def test_a_client_made_before_a_fork(broker_client: Client) -> None:
    """As under a web server that loads the application and forks then."""
    settings = broker_client.settings
    env = {**os.environ, "DATABASE_URL": settings.database_url, "REDIS_URL": settings.redis_url}
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        env=env,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert {run.run_id for run in broker_client.list()} == {"before", "child", "parent", "after"}
    assert _queued(broker_client) == 4
