"""How long things take on a fleet that is idle or under half load: start -> first step or end,
event -> resumed, timer -> fired."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from threading import Event

from abstractruntime.core.models import RunStatus
from workers.client import Client

from .fleet import Fleet

SAMPLES = 200
LOAD_STEPS = 10
"""Effect steps of each run that makes the load."""
LOAD_RUNS = 200
"""Runs by which the full load is measured."""


def submit_to_finished(fleet: Fleet, steps: int, samples: int = SAMPLES) -> list[float]:
    """Milliseconds from the call of ``start`` to ``wait``'s answer, of runs with `steps` effect steps."""
    took = []
    for _ in range(samples):
        before = time.perf_counter()
        fleet.client.wait(fleet.client.start("chain", {"steps": steps + 1}), timeout=30)
        took.append((time.perf_counter() - before) * 1000)
    return took


def start_to_first_step(fleet: Fleet, samples: int = SAMPLES) -> list[float]:
    """Milliseconds from the call of ``start`` to the first node's first line."""
    lateness = []
    for _ in range(samples):
        before = time.time()
        run = fleet.client.wait(fleet.client.start("stamp"), timeout=30)
        lateness.append(_stamped(run.output) - before)
    return [value * 1000 for value in lateness]


def event_to_resumed(fleet: Fleet, samples: int = SAMPLES) -> list[float]:
    """Milliseconds from the call of ``emit_event`` to the next node's first line."""
    lateness = []
    for index in range(samples):
        key = f"bench:{index}"
        run_id = fleet.client.start("event", {"key": key})
        _until_waiting(fleet.client, run_id)
        before = time.time()
        fleet.client.emit_event("bench", {"n": index}, wait_key=key)
        run = fleet.client.wait(run_id, timeout=30)
        lateness.append(_stamped(run.output) - before)
    return [value * 1000 for value in lateness]


def timer_lateness(fleet: Fleet, samples: int = SAMPLES) -> list[float]:
    """Milliseconds from a timer's due time to the next node's first line."""
    first = datetime.now(timezone.utc) + timedelta(seconds=6)
    due = [first + timedelta(milliseconds=40 * index) for index in range(samples)]
    runs = [fleet.client.start("timer", {"until": moment.isoformat()}) for moment in due]
    ended = [fleet.client.wait(run_id, timeout=60) for run_id in runs]
    return [
        (_stamped(run.output) - moment.timestamp()) * 1000 for run, moment in zip(ended, due, strict=True)
    ]


@contextmanager
def half_load(fleet: Fleet) -> Iterator[float]:
    """Meanwhile runs are started, one by one, at half the pace at which the fleet just got through many.

    Gives that pace in steps per second.
    """
    before = time.perf_counter()
    for run_id in fleet.client.start_many("chain", [{"steps": LOAD_STEPS + 1}] * LOAD_RUNS):
        fleet.client.wait(run_id, timeout=60)
    apart = 2 * (time.perf_counter() - before) / LOAD_RUNS
    is_over = Event()

    def start_runs() -> None:
        due = time.perf_counter()
        while not is_over.wait(max(0.0, due - time.perf_counter())):
            fleet.client.start("chain", {"steps": LOAD_STEPS + 1})
            due += apart

    with ThreadPoolExecutor(1) as pool:
        starting = pool.submit(start_runs)
        try:
            yield LOAD_STEPS / apart
        finally:
            is_over.set()
            starting.result()


def _stamped(output: dict[str, object] | None) -> float:
    assert output is not None
    return float(str(output["at"]))


def _until_waiting(client: Client, run_id: str) -> None:
    while client.get(run_id).status is not RunStatus.WAITING:
        time.sleep(0.002)
    time.sleep(0.02)  # let the fleet go idle again
