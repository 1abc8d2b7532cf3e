"""Real workers, a real Valkey: the queue stays below its mark, and a worker killed with -9 leaks no slot.

``CROWD=100000`` makes the crowd as large as one likes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from redis import Redis

from tests.poll import eventually
from workers.client import Client
from workers.settings import Settings, load_settings

from .crowded import GATE
from .fleet import CrashFleet

CROWD = int(os.environ.get("CROWD", "1200"))
LIMIT = 300 if CROWD < 20_000 else 2000
BATCH = 100 if CROWD < 20_000 else 500
APP = "tests.crash.crowded:app"
USUAL = {
    "ABSTRACTRUNTIME_APP": APP,
    "ABSTRACTRUNTIME_QUEUE_LIMIT": str(LIMIT),
    "ABSTRACTRUNTIME_SWEEP_BATCH": str(BATCH),
    "ABSTRACTRUNTIME_REDELIVERY_GRACE": "10",
}


@pytest.fixture
def fleet(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[CrashFleet]:
    """Without the look at every single run that the other tests end with."""
    running = CrashFleet(postgres_url, redis_url, tmp_path / "fleet")
    try:
        yield running
    finally:
        running.stop()


@pytest.fixture
def client(fleet: CrashFleet) -> Iterator[Client]:
    with Client(APP, settings=_settings(fleet)) as opened:
        yield opened


def _settings(fleet: CrashFleet) -> Settings:
    return load_settings(
        app=APP,
        database_url=fleet.database_url,
        redis_url=fleet.redis_url,
        queue_limit=LIMIT,
        sweep_batch=BATCH,
        lease=2.0,
    )


class Watch:
    """Looks at the queue all the time."""

    def __init__(self, fleet: CrashFleet) -> None:
        self.deepest = 0
        self._redis = Redis.from_url(fleet.redis_url)
        self._queue = fleet.settings.tick_queue
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self.deepest = max(self.deepest, self._redis.llen(self._queue))

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._redis.close()


@pytest.mark.timeout(max(120.0, CROWD / 15))
def test_a_crowd_of_runs_waits_in_the_database(fleet: CrashFleet, client: Client) -> None:
    memory = psutil.Process().memory_info
    with Watch(fleet) as watch:
        for _ in range(CROWD // 3):
            client.start("brief")
        before = memory().rss
        for _ in range(CROWD - CROWD // 3):
            client.start("brief")
        grown = memory().rss - before
        assert watch.deepest >= LIMIT // 2  # there was a crowd
        urgent = client.start("brief", priority=9)
        fleet.worker("one", **USUAL)
        fleet.beat(**USUAL)
        client.wait(urgent, timeout=60 + LIMIT / 20)
        waiting = client.counts().get("running", 0)
        eventually(
            lambda: client.counts().get("running", 0) == 0,
            timeout=60 + CROWD / 20,
            interval=0.2,
            message="left",
        )
    assert client.counts() == {"completed": CROWD + 1}
    # Below the mark a whole batch fits; beat's own pulses and runs that just go on come on top.
    assert watch.deepest <= LIMIT + BATCH + 20
    assert waiting > CROWD // 2  # the urgent one did not stand at the end of the line
    assert grown < 20e6


def test_a_killed_worker_leaves_its_slot_to_the_next_and_meanwhile_nobody_else_waits(
    fleet: CrashFleet, client: Client, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    gate.mkdir()
    variables = {**USUAL, GATE: str(gate)}
    fleet.worker("ticks", queues="ticks", **variables)
    first, second = (fleet.worker(name, queues="effects", **variables) for name in ("first", "second"))
    fleet.beat(**variables)
    runs = {name: client.start("call", {"name": name}) for name in ("a", "b", "c")}
    eventually(lambda: list(gate.iterdir()), timeout=60, message="nobody was called")
    (called,) = [path.name for path in gate.iterdir()]
    others = [run_id for name, run_id in runs.items() if name != called]
    eventually(lambda: all(client.checkpoint(run_id).hold_reason for run_id in others), timeout=30)
    assert client.checkpoint(others[0]).hold_reason == "waits for limit 'outside': 1 of 1 slots in use"
    assert [path.name for path in gate.iterdir()] == [called]
    # A slow effect, and those who wait for its slot, hold up nobody else.
    listener = client.start("wait")
    eventually(lambda: client.get(listener).status.value == "waiting", timeout=30)
    client.emit_event(wait_key="open")
    assert client.wait(listener, timeout=30).status.value == "completed"
    assert client.wait(client.start("brief"), timeout=30).status.value == "completed"
    assert [path.name for path in gate.iterdir()] == [called]
    killed = first if (gate / called).read_text() == str(first.pid) else second
    killed.kill()
    eventually(
        lambda: len(list(gate.iterdir())) == 2 or _is_called_again(gate / called, killed.pid),
        timeout=30,
        message="the slot of a dead worker was not given to anybody",
    )
    (gate / "open").touch()
    for run_id in runs.values():
        assert client.wait(run_id, timeout=60).status.value == "completed"


def _is_called_again(call: Path, pid: int) -> bool:
    return call.read_text() not in ("", str(pid))
