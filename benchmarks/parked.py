"""Runs that only wait, half for far timers, half for events: what they cost the others, and themselves."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import Task
from workers.hints import Message
from workers.placement import Timing
from workers.sweep import sweep

from .crowd import EVENT_KEY, Crowd, due_text, multiply
from .fleet import Fleet
from .statistics import median, percentile

RUNS = 10_000
WARM = 500
MONTH = 30 * 86400.0
SWEEPS = 50
EVENTS = 50
CHAINS = 100
STEPS = 50
ROUNDS = 3


class _Counting:
    """A dispatcher that only counts what a sweep finds."""

    def __init__(self) -> None:
        self.sent = 0

    def send(self, messages: Sequence[Message]) -> None:
        self.sent += len(messages)

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Parked:
    """Figures of a fleet with the runs in its table.

    Attributes:
        memory_before_mib, memory_after_mib: of all worker processes.
        broker_before, broker_after: messages in the queues or held by workers.
        sweep_ms, hints: one sweep (median), and what all of them sent.
        emit_ms, emit_p99_ms: from the call of ``emit_event`` for one of the runs to its return, that is, the
            event and the resumed run are committed.
        resumed_ms, resumed_p99_ms: from that call to the first line of the run's next node.
        list_ms: the newest hundred, those of a rare workflow, and those that have failed: the slowest.
        steps_without, steps_with: steps per second of other runs, on a fleet without parked ones and on
            this one; in turns, so that the machine's other work meets both.
    """

    runs: int
    memory_before_mib: float
    memory_after_mib: float
    broker_before: int
    broker_after: int
    sweep_ms: float
    hints: int
    emit_ms: float
    emit_p99_ms: float
    resumed_ms: float
    resumed_p99_ms: float
    list_ms: float
    steps_without: float
    steps_with: float

    @property
    def throughput_ratio(self) -> float:
        """Throughput with the parked runs, as a part of that without."""
        return self.steps_with / self.steps_without


def parked_runs(
    fleet: Fleet, empty: Fleet, runs: int = RUNS, *, steps: int = STEPS, rounds: int = ROUNDS
) -> Parked:
    """Park the runs on a running fleet and measure, beside one that stays ``empty``."""
    _park_by_starting(fleet, WARM, offset=0)  # pools and caches are warm before memory is read
    _steps_per_second(fleet, steps)
    memory, length = fleet.resident_mib(), sum(fleet.broker_depth())
    if fleet.settings.database_url.startswith("sqlite"):
        _park_by_starting(fleet, runs, offset=WARM)
    else:
        _park_by_copying(fleet, runs)
    dispatcher = _Counting()
    timing = Timing.of(fleet.settings)
    sweeps = [_ms(lambda: sweep(fleet.client.store, dispatcher, timing)) for _ in range(SWEEPS)]
    emits, resumed = _events(fleet, min(EVENTS, runs // 4))
    lists = [
        lambda: fleet.client.list(limit=100),
        lambda: fleet.client.list(limit=100, workflow_id="rare"),
        lambda: fleet.client.list(limit=100, status=RunStatus.FAILED),
    ]
    rates = [(_steps_per_second(empty, steps), _steps_per_second(fleet, steps)) for _ in range(rounds)]
    return Parked(
        runs=runs,
        memory_before_mib=memory,
        broker_before=length,
        sweep_ms=median(sweeps),
        hints=dispatcher.sent,
        emit_ms=median(emits),
        emit_p99_ms=percentile(emits, 0.99),
        resumed_ms=median(resumed),
        resumed_p99_ms=percentile(resumed, 0.99),
        list_ms=max(median([_ms(look) for _ in range(5)]) for look in lists),
        steps_without=median([without for without, _ in rates]),
        steps_with=median([crowded for _, crowded in rates]),
        memory_after_mib=fleet.resident_mib(),
        broker_after=sum(fleet.broker_depth()),
    )


def _ms(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def _key(index: int) -> str:
    return EVENT_KEY.format(index)


def _park_by_starting(fleet: Fleet, runs: int, *, offset: int) -> None:
    far = due_text(time.time() + MONTH)
    started = [
        fleet.client.start(*(("timer", {"until": far}) if index % 2 else ("event", {"key": _key(index)})))
        for index in range(offset, offset + runs)
    ]
    for run_id in started:
        _until_waiting(fleet, run_id)


def _park_by_copying(fleet: Fleet, runs: int) -> None:
    far = time.time() + MONTH
    timer = fleet.client.start("timer", {"until": due_text(far)})
    listener = fleet.client.start("event", {"key": _key(0)})
    for run_id in (timer, listener):
        _until_waiting(fleet, run_id)
    horizon = fleet.settings.timer_horizon
    multiply(
        fleet.settings.database_url,
        Crowd(timer, 1, runs - runs // 2, far, 0.01, horizon),
        # Beyond the numbers of those that were started.
        Crowd(listener, WARM, WARM + runs // 2 - 1),
    )


def _until_waiting(fleet: Fleet, run_id: str) -> None:
    while fleet.client.get(run_id).status is not RunStatus.WAITING:
        time.sleep(0.005)


def _events(fleet: Fleet, events: int) -> tuple[list[float], list[float]]:
    """Milliseconds of emits that wake one of the parked runs each, and until that run goes on."""
    emits, resumed = [], []
    for index in range(WARM, WARM + 2 * events, 2):
        before = time.time()
        receipt = fleet.client.emit_event("crowd", {}, wait_key=_key(index))
        emits.append((time.time() - before) * 1000)
        (run_id,) = receipt.resumed
        output = fleet.client.wait(run_id, timeout=30).output
        assert output is not None
        resumed.append((float(output["at"]) - before) * 1000)
        time.sleep(0.02)  # let the fleet go idle again
    return emits, resumed


def _steps_per_second(fleet: Fleet, steps: int) -> float:
    started = time.perf_counter()
    runs = [fleet.client.start("chain", {"steps": steps}) for _ in range(CHAINS)]
    for run_id in runs:
        fleet.client.wait(run_id, timeout=300)
    return CHAINS * steps / (time.perf_counter() - started)
