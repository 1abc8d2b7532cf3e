"""Whether slow effects hold up anybody else: what things take on an idle fleet, and while they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from . import latency
from .fleet import Fleet
from .statistics import percentile

EFFECTS = 500
SECONDS = 5.0
SAMPLES = 200
MEASURES: dict[str, Callable[[Fleet, int], list[float]]] = {
    "start -> first step": latency.start_to_first_step,
    "event -> resumed": latency.event_to_resumed,
    "timer lateness": latency.timer_lateness,
}


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds on the idle fleet and beside slow effects."""

    idle_p50: float
    idle_p99: float
    busy_p50: float
    busy_p99: float

    @property
    def ratio(self) -> float:
        """Of the p99: 1 = the slow effects are not felt."""
        return self.busy_p99 / self.idle_p99


@dataclass(frozen=True, slots=True)
class BackPressure:
    """The latencies, how many of the slow effects were still to do when the last was measured, and how long
    all of them took (at best: effects x seconds / threads)."""

    latencies: dict[str, Latency]
    left: int
    elapsed_s: float


def back_pressure(
    fleet: Fleet, *, effects: int = EFFECTS, seconds: float = SECONDS, samples: int = SAMPLES
) -> BackPressure:
    """Measure, start the slow effects, and measure again as long as there are some."""
    idle = {name: measure(fleet, samples) for name, measure in MEASURES.items()}
    began = time.monotonic()
    runs = [fleet.client.start("slow", {"seconds": seconds}) for _ in range(effects)]
    busy = {name: measure(fleet, samples) for name, measure in MEASURES.items()}
    left = sum(fleet.client.get(run_id).status.value != "completed" for run_id in runs)
    for run_id in runs:
        fleet.client.wait(run_id, timeout=600)
    elapsed = time.monotonic() - began
    return BackPressure(
        {
            name: Latency(
                percentile(idle[name], 0.5),
                percentile(idle[name], 0.99),
                percentile(busy[name], 0.5),
                percentile(busy[name], 0.99),
            )
            for name in MEASURES
        },
        left,
        elapsed,
    )
