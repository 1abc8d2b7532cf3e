"""Beats that die, come in pairs or have wrong clocks; sweeps, resumers (`DESIGN §4`)."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from redis import Redis

from tests.poll import eventually

from .fleet import CrashFleet

pytestmark = pytest.mark.chaos
OFTEN = {"CRASH_TESTS_SCHEDULE": "1"}


@pytest.mark.failure("beat dead for ten minutes")
def test_a_beat_that_dies_and_comes_back(fleet: CrashFleet) -> None:
    """Near timers and ticks in flight don't need it; what lies beyond the horizon waits for it."""
    near = {"ABSTRACTRUNTIME_TIMER_HORIZON": "1.5"}
    fleet.worker("a", **near, **OFTEN)
    fleet.beat(**near, **OFTEN)
    eventually(fleet.occurrences, timeout=60, message="beat does not work")
    fleet.kill("beat")
    first = fleet.client.start("sleep", {"seconds": 1})
    later = fleet.client.start("sleep", {"seconds": 2.5})
    work = fleet.client.start("chain", {"steps": 20})
    fleet.finished(work)
    fleet.finished(first)
    fleet.waits(later)
    due = fleet.client.get(later).waiting
    assert due is not None
    assert due.until is not None
    until = datetime.fromisoformat(due.until).timestamp()
    eventually(
        lambda: fleet.client.store.now() > until + 0.5, timeout=60, message="the database's clock stands"
    )
    assert fleet.status(later) == "waiting"  # late by as long as beat is dead, but there
    fleet.beat("beat again", **near, **OFTEN)
    fleet.finished(later)
    eventually(
        lambda: fleet.client.store.now() < fleet.occurrences()[-1] + 2, timeout=60, message="not caught up"
    )
    _assert_each_second_once(fleet)


@pytest.mark.failure("two beats, two sweeps, ten resumers")
def test_two_beats_two_workers_ten_resumers(fleet: CrashFleet) -> None:
    """All of them sweep; nothing happens twice, and every published event arrives once."""
    for name in ("a", "b"):
        fleet.worker(name, **OFTEN)
        fleet.beat(f"beat {name}", **OFTEN)
    resumers = [fleet.resumer(f"resumer{n}", **OFTEN) for n in range(10)]
    listeners = [fleet.client.start("event", {"key": f"k{n}"}) for n in range(10)]
    for run_id in listeners:
        fleet.waits(run_id)
    channel = fleet.settings.event_channel
    with Redis.from_url(fleet.redis_url) as redis:
        for n in range(10):
            message = json.dumps({"event_id": f"e{n}", "payload": n})
            heard = eventually(
                lambda n=n, message=message: redis.publish(f"{channel}k{n}", message), timeout=60
            )
            assert heard <= len(resumers)
    for n, run_id in enumerate(listeners):
        assert fleet.finished(run_id).output == {"event": n}
    assert fleet.sql("SELECT count(*) FROM events") == [(10,)]
    eventually(lambda: len(fleet.occurrences()) >= 3, timeout=60, message="no occurrences")
    _assert_each_second_once(fleet)


@pytest.mark.failure("clock of one worker wrong by a minute")
@pytest.mark.parametrize(("fast", "slow"), [(60.0, -60.0)])
def test_clocks_wrong_by_a_minute(fleet: CrashFleet, fast: float, slow: float) -> None:
    """Two workers two minutes apart, and a beat behind both: nothing early, nothing lost."""
    near = {"ABSTRACTRUNTIME_TIMER_HORIZON": "2", **OFTEN}
    fleet.worker("fast", clock_s=fast, **near)
    fleet.worker("slow", clock_s=slow, **near)
    fleet.beat(clock_s=slow, **near)
    timers = [fleet.client.start("sleep", {"seconds": seconds}) for seconds in (1, 1, 2, 4, 4)]
    work = [
        fleet.client.start("chain", {"steps": 5}),
        fleet.client.start("call"),
        fleet.client.start("family"),
    ]
    for run_id in (*work, *timers):
        fleet.finished(run_id)
    for run_id in timers:
        until, woken = _timer(fleet, run_id)
        assert 0 <= woken - until < 10
    eventually(lambda: len(fleet.occurrences()) >= 3, timeout=60, message="no occurrences")
    _assert_each_second_once(fleet)
    for run in fleet.client.list(limit=1000):
        told = [entry.record["started_at"] for entry in fleet.client.ledger(run.run_id)]
        assert told == sorted(told), "the ledger's times are the database's, whoever wrote it"


def _timer(fleet: CrashFleet, run_id: str) -> tuple[float, float]:
    """When it was due, and when it went on (by the database's clock)."""
    records = [entry.record for entry in fleet.client.ledger(run_id) if entry.record["node_id"] == "sleep"]
    until = next(record["effect"]["payload"]["until"] for record in records if record["status"] == "started")
    woken = next(record["started_at"] for record in records if record["effect"]["type"] == "resume")
    return datetime.fromisoformat(until).timestamp(), datetime.fromisoformat(woken).timestamp()


def _assert_each_second_once(fleet: CrashFleet) -> None:
    times = fleet.occurrences()
    assert times == [times[0] + n for n in range(len(times))]
