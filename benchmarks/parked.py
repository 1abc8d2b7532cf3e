"""10 000 parked runs, half timers far away, half events: what they cost while they wait."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from redis import Redis

from workers.hints import Message
from workers.placement import Timing
from workers.sweep import sweep

from .fleet import Fleet
from .statistics import median

RUNS = 10_000


class _Counting:
    def __init__(self) -> None:
        self.sent = 0

    def send(self, messages: list[Message]) -> None:  # type: ignore[override]
        self.sent += len(messages)


@dataclass
class Parked:
    """Figures before and after parking."""

    runs: int
    memory_before_mib: float
    memory_after_mib: float
    broker_before: int
    broker_after: int
    sweep_ms: float
    hints: int


def parked_runs(fleet: Fleet) -> Parked:
    """Park the runs on a running fleet and look at worker memory, broker length and one sweep."""
    broker = Redis.from_url(fleet.settings.redis_url)
    far = (datetime.now(timezone.utc) + timedelta(days=30)).isoformat()
    _park(fleet, 500, far, offset=0)  # pools and caches are warm before memory is read
    memory, length = fleet.resident_mib(), _broker_length(broker, fleet)
    _park(fleet, RUNS, far, offset=500)
    time.sleep(1.0)
    dispatcher = _Counting()
    store = fleet.client.store
    took = []
    for _ in range(20):
        started = time.perf_counter()
        sweep(store, dispatcher, Timing.of(fleet.settings))  # type: ignore[arg-type]
        took.append((time.perf_counter() - started) * 1000)
    return Parked(
        RUNS,
        memory,
        fleet.resident_mib(),
        length,
        _broker_length(broker, fleet),
        median(took),
        dispatcher.sent,
    )


def _park(fleet: Fleet, runs: int, far: str, *, offset: int) -> None:
    for index in range(offset, offset + runs):
        if index % 2:
            fleet.client.start("timer", {"until": far})
        else:
            fleet.client.start("event", {"key": f"parked:{index}"})
    while fleet.client.counts().get("running", 0):
        time.sleep(0.05)


def _broker_length(broker: Redis, fleet: Fleet) -> int:
    queues = (fleet.settings.tick_queue, fleet.settings.effect_queue)
    return sum(int(broker.llen(queue)) for queue in queues) + int(broker.hlen("unacked"))
