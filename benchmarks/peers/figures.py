"""What is measured, under which names, and how several rounds become one report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..statistics import median, percentile

__all__ = ["LATENCIES", "MARKS", "STORES", "Figures"]

LATENCIES = ("submit_to_finished", "event_to_resumed", "timer_lateness")
STORES = ("in memory", "SQLite", "JSON files")
MARKS = (100, 1_000)


class Figures:
    """All rounds of all rows; a row is one peer in one configuration."""

    def __init__(self) -> None:
        self.throughput: dict[str, list[float]] = {}
        self.latency: dict[str, dict[str, list[float]]] = {}
        self.step_cost: dict[str, dict[str, list[dict[str, float]]]] = {}
        self.versions: dict[str, dict[str, str]] = {}
        self.left_out: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def add_throughput(self, row: str, per_second: float) -> None:
        """One round's steps (or hops) per second."""
        self.throughput.setdefault(row, []).append(per_second)
        print(f"{row:58} {per_second:8.0f} /s", flush=True)

    def add_latency(self, row: str, name: str, values: Sequence[float]) -> None:
        """One round's samples, in milliseconds."""
        self.latency.setdefault(row, {}).setdefault(name, []).extend(values)
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        print(f"{row:58} {p50:8.1f} p50 {p99:8.1f} p99 ms  {name}", flush=True)

    def add_step_cost(self, row: str, store: str, costs: dict[str, float]) -> None:
        """One round's microseconds of a step, by mark."""
        self.step_cost.setdefault(row, {}).setdefault(store, []).append(costs)
        shown = ", ".join(f"{cost:.0f} us at step {mark}" for mark, cost in costs.items())
        print(f"{row:58} {store}: {shown}", flush=True)

    def report(self) -> dict[str, Any]:
        """All rows: medians of the rounds; p50 and p99 over the samples of all rounds."""
        return {
            "throughput": {
                row: {"median": median(rates), "all": rates} for row, rates in self.throughput.items()
            },
            "latency_ms": {
                row: {name: _percentiles(values) for name, values in names.items()}
                for row, names in self.latency.items()
            },
            "step_us": {
                row: {
                    store: {mark: median([each[mark] for each in rounds]) for mark in rounds[0]}
                    for store, rounds in stores.items()
                }
                for row, stores in self.step_cost.items()
            },
            "versions": self.versions,
            "left_out": self.left_out,
            "failed": self.failed,
        }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99), "samples": len(values)}
