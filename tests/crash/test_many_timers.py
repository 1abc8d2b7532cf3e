"""Two thousand timers due in one second, on two workers: all fire, none twice, nobody holds more than a few
messages."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from benchmarks.crowd import Crowd, due_text, multiply
from tests.poll import eventually

from .fleet import CrashFleet

TIMERS = 2000
HORIZON_S = 2.0
ETAS = 10
# Long pauses: with those of the other tests the sweep would send again what only waits its turn.
PATIENT = {
    "ABSTRACTRUNTIME_TICK_MAX_STEPS": "25",
    "ABSTRACTRUNTIME_REDELIVERY_GRACE": "60",
    "ABSTRACTRUNTIME_SWEEP_INTERVAL": "1",
    "ABSTRACTRUNTIME_ETA_LIMIT": str(ETAS),
    "ABSTRACTRUNTIME_TIMER_HORIZON": str(HORIZON_S),
}
FIRED = """
SELECT times, count(*) FROM (
    SELECT count(*) FILTER (WHERE l.record_json::json #>> '{effect,type}' = 'resume') AS times
    FROM runs r JOIN ledger l USING (run_id) WHERE r.status = 'completed' GROUP BY r.run_id
) AS runs GROUP BY times
"""
EARLY = """
SELECT count(*) FROM (
    SELECT record_json::json AS record FROM ledger WHERE record_json::json #>> '{effect,type}' = 'resume'
) AS l WHERE (record ->> 'ended_at') < (record #>> '{effect,payload,payload,until}')
"""


@pytest.fixture
def fleet(postgres_url: str, redis_url: str, tmp_path: Path) -> Iterator[CrashFleet]:
    """Without the look at every single run that the other tests end with."""
    running = CrashFleet(postgres_url, redis_url, tmp_path / "fleet")
    try:
        yield running
    finally:
        running.stop()


@pytest.mark.timeout(300)
def test_timers_due_in_the_same_second_all_fire_and_none_twice(fleet: CrashFleet) -> None:
    fleet.worker("one", **PATIENT)
    seed = fleet.client.start("sleep", {"seconds": 3600})
    fleet.waits(seed)
    due = time.time() + HORIZON_S + 2.0
    multiply(fleet.database_url, Crowd(seed, 1, TIMERS, due, 1.0 / TIMERS, HORIZON_S))
    fleet.worker("two", **PATIENT)
    fleet.beat(**PATIENT)
    held = []
    with Redis.from_url(fleet.redis_url) as redis:

        def all_completed() -> bool:
            held.append(redis.hlen("unacked"))
            return fleet.client.counts().get("completed", 0) == TIMERS

        eventually(all_completed, timeout=240, interval=0.1, message=due_text(due))
        eventually(lambda: redis.llen(fleet.settings.tick_queue) == 0, timeout=30)
    assert fleet.sql(FIRED) == [(1, TIMERS)]
    assert fleet.sql(EARLY) == [(0,)]
    assert (
        max(held) <= 2 * ETAS + 6
    )  # what a worker has taken, and ETA messages that it holds until they are due
