"""100 000 timers in the table, 10 000 of them due in the same second: how late, how often, at what cost."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.engine import open_database

from .crowd import Crowd, due_text, multiply
from .fleet import Fleet
from .statistics import percentile

TIMERS = 100_000
BURST = 10_000
SECOND = 1.0
DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Timers:
    """What the burst looked like.

    Attributes:
        timers, burst: timers in the table, and those due in the same second.
        fired, twice: of the burst, how many fired, and how many more than once (by the ledger).
        p50_ms, p99_ms: lateness of the burst: how long after its due time a timer's firing was committed.
        elapsed_s: from the first due time to the last firing; what it takes anyway is the fleet's speed.
        before_mib, peak_mib, after_mib: memory of the largest worker process.
        queued, held: most messages seen waiting in the broker, and most that workers had taken but not done.
    """

    timers: int
    burst: int
    fired: int
    twice: int
    p50_ms: float
    p99_ms: float
    elapsed_s: float
    before_mib: float
    peak_mib: float
    after_mib: float
    queued: int
    held: int


def timers(fleet: Fleet, *, timers: int = TIMERS, burst: int = BURST) -> Timers:
    """Fill the table, wait for the second in which the burst is due, watch, and read the ledgers."""
    far = time.time() + DAY
    seed = fleet.client.start("timer", {"until": due_text(far)})
    while fleet.client.get(seed).status is not RunStatus.WAITING:
        time.sleep(0.01)
    horizon, url = fleet.settings.timer_horizon, fleet.settings.database_url
    multiply(url, Crowd(seed, 1, timers - burst, far, 1.0, horizon))
    # Time to copy the burst before it comes within the horizon.
    due, apart = time.time() + 10.0 + burst / 500 + horizon, SECOND / burst
    first = timers - burst + 1
    multiply(url, Crowd(seed, first, timers, due - first * apart, apart, horizon))
    if time.time() > due - horizon:
        raise RuntimeError("filling the table took too long: the burst is within the horizon already")
    with _Watch(fleet) as watch:
        _until_completed(fleet, burst, due)
    late, twice = _lateness(fleet)
    return Timers(
        timers=timers,
        burst=burst,
        fired=len(late),
        twice=twice,
        p50_ms=percentile(late, 0.5) * 1000,
        p99_ms=percentile(late, 0.99) * 1000,
        elapsed_s=max(late) + SECOND,
        before_mib=watch.memory[0],
        peak_mib=max(watch.memory),
        after_mib=max(fleet.resident_each_mib()),
        queued=max(queued for queued, _ in watch.depth),
        held=max(held for _, held in watch.depth),
    )


@dataclass
class _Watch:
    """Looks at memory and broker a few times a second, from a thread of its own."""

    fleet: Fleet
    memory: list[float] = field(default_factory=list)
    depth: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        while True:
            self.memory.append(max(self.fleet.resident_each_mib()))
            self.depth.append(self.fleet.broker_depth())
            if self._ended.wait(0.1):
                return

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


_ENDED = """
SELECT count(*) FROM runs WHERE status = 'completed' AND due_at IS NULL AND workflow_id = 'timer'
"""


def _until_completed(fleet: Fleet, burst: int, due: float) -> None:
    database = open_database(fleet.settings.database_url)
    deadline = due + 120 + burst / 10
    with database.engine.connect() as connection:
        while True:
            time.sleep(0.5)
            if time.time() < due:
                continue
            ended = connection.exec_driver_sql(_ENDED).scalar_one()
            connection.rollback()
            if ended >= burst:
                break
            if time.time() > deadline:
                raise RuntimeError(f"only {ended} of {burst} timers have fired")
    database.close()
    time.sleep(1.0)  # for a timer that would fire again


_RECORDS = """
SELECT l.run_id, l.record_json FROM ledger l JOIN runs r ON r.run_id = l.run_id
WHERE r.workflow_id = 'timer' AND r.status = 'completed' AND l.status = 'completed'
"""


def _lateness(fleet: Fleet) -> tuple[list[float], int]:
    """Seconds from due to fired for each of the burst, and how many fired more than once."""
    database = open_database(fleet.settings.database_url)
    fired: dict[str, list[float]] = {}
    with database.engine.connect() as connection:
        for run_id, text in connection.exec_driver_sql(_RECORDS):
            record = json.loads(text)
            effect = record["effect"] or {}
            if effect.get("type") == "resume":
                until = _epoch(effect["payload"]["payload"]["until"])
                fired.setdefault(run_id, []).append(_epoch(record["ended_at"]) - until)
    database.close()
    return [times[0] for times in fired.values()], sum(len(times) > 1 for times in fired.values())


def _epoch(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()
