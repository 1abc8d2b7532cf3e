"""The broker is flushed, restarted, away, or cuts its clients: no run is lost (`DESIGN §4`)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest
from redis import Redis

from abstractruntime.testing.servers import ValkeyServer
from tests.poll import eventually

from .fleet import CrashFleet

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(bool(os.environ.get("REDIS_URL")), reason="needs a server of its own"),
]
ROW = pytest.mark.failure("Redis flushed / restarted / away for a minute")
AWAY_S = float(os.environ.get("CRASH_TESTS_AWAY", "3"))
"""How long the broker is away, in seconds."""
PROMPT_S = 15.0
"""What one call of a client may take meanwhile; a broker that refuses connections costs next to nothing."""


def _flush(server: ValkeyServer) -> None:
    with Redis.from_url(server.url) as redis:
        redis.flushall()  # queues, unacknowledged messages and kombu's bindings


def _cut_clients(server: ValkeyServer) -> None:
    with Redis.from_url(server.url) as redis:
        for kind in ("normal", "pubsub"):
            redis.client_kill_filter(_type=kind, skipme=True)


def _restart(server: ValkeyServer) -> None:
    server.stop()
    server.start()


def _crash(server: ValkeyServer) -> None:
    server.kill()
    server.start()


@ROW
@pytest.mark.parametrize("happening", [_flush, _cut_clients, _restart, _crash])
def test_work_goes_on(
    fleet: CrashFleet, valkey_server: ValkeyServer, happening: Callable[[ValkeyServer], None]
) -> None:
    fleet.worker("ticks", queues="ticks")
    fleet.worker("effects", queues="effects")
    fleet.beat()
    run_ids = [fleet.client.start("chain", {"steps": 20}) for _ in range(6)]
    run_ids += [fleet.client.start("call") for _ in range(3)]
    run_ids.append(fleet.client.start("sleep", {"seconds": 2}))
    eventually(
        lambda: fleet.client.checkpoint(run_ids[0]).version > 3, timeout=60, message="work did not begin"
    )
    happening(valkey_server)
    for run_id in run_ids:
        fleet.finished(run_id)


@ROW
def test_clients_work_while_it_is_away(fleet: CrashFleet, valkey_server: ValkeyServer) -> None:
    fleet.worker("a")
    fleet.beat()
    listener = fleet.client.start("event", {"key": "payment:4"})
    asker = fleet.client.start("ask")
    sleeper = fleet.client.start("sleep", {"seconds": AWAY_S / 2})
    for run_id in (listener, asker, sleeper):
        fleet.waits(run_id)
    valkey_server.kill()
    gone = time.monotonic()
    started = []

    def promptly(call: Callable[[], object]) -> object:
        began = time.monotonic()
        result = call()
        assert time.monotonic() - began < PROMPT_S
        return result

    def starts() -> bool:
        started.append(promptly(lambda: fleet.client.start("chain", {"steps": 2})))
        return time.monotonic() - gone > AWAY_S

    receipt = fleet.client.emit_event("paid", {}, wait_key="payment:4")
    assert receipt.resumed == [listener]
    promptly(lambda: fleet.client.resume(asker, {"answer": "yes"}))
    eventually(starts, timeout=AWAY_S + 30, interval=AWAY_S / 6)
    valkey_server.start()
    for run_id in (listener, asker, sleeper, *map(str, started)):
        fleet.finished(run_id)
    assert len(started) > 3
