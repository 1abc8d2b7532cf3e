"""The goals that the committed results can decide, and whether they are reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["GOALS", "Goal", "judged"]

Run = dict[str, Any]
"""The results beside the peers, and under "own" those of ``python -m benchmarks``."""

_ONE = "this release, PostgreSQL, 1 step(s) per task"
_MANY = "this release, PostgreSQL, 25 step(s) per task"
_EMBEDDED = "this release, embedded (SQLite), 25 step(s) per task"
_POOL = "solo x 2"
_PARKED = 1_000_000
_PEERS = ("DBOS", "Absurd", "LangGraph")


@dataclass(frozen=True, slots=True)
class Goal:
    """One figure to reach.

    Attributes:
        text: what it is, with the bound.
        measured: the figure in a run; KeyError where the run does not have it.
        bound: the figure must be at least this (`at_least`) or at most this.
        unit: behind the shown figure.
    """

    text: str
    measured: Callable[[Run], float]
    bound: float
    at_least: bool
    unit: str

    def shown(self, value: float | None) -> str:
        """The figure for a table."""
        if value is None:
            return "-"
        return (
            f"{value:,.0f}{self.unit}".replace(",", "\u202f") if value >= 100 else f"{value:.2f}{self.unit}"
        )


def judged(run: Run) -> Iterator[tuple[Goal, float | None, bool | None]]:
    """Every goal with its figure and whether it is reached; None and None where the run lacks it."""
    for goal in GOALS:
        try:
            value = goal.measured(run)
        except KeyError:
            yield goal, None, None
        else:
            yield goal, value, value >= goal.bound if goal.at_least else value <= goal.bound


def _rate(run: Run, row: str) -> float:
    return float(run["throughput"][row]["median"])


def _best_peer(run: Run) -> float:
    rates = [_rate(run, row) for row in run["throughput"] if row.startswith(_PEERS)]
    if not rates:
        raise KeyError("no peer on PostgreSQL was measured")
    return max(rates)


def _latency(row: str, name: str, share: str) -> Callable[[Run], float]:
    return lambda run: float(run["latency_ms"][row][name][share])


def _ratio(row: str, below: str) -> Callable[[Run], float]:
    return lambda run: _rate(run, f"{row}, {_POOL}") / _rate(run, below)


def _to_best_peer(row: str) -> Callable[[Run], float]:
    return lambda run: _rate(run, f"{row}, {_POOL}") / _best_peer(run)


def _parked(run: Run, field: str) -> float:
    parked = run["own"]["parked"]["postgresql"]
    if parked["runs"] < _PARKED:
        raise KeyError("measured with fewer parked runs")
    return float(parked[field])


def _growth(run: Run) -> float:
    return max(float(cost["ratio"]) for cost in run["own"]["inprocess"].values() if isinstance(cost, dict))


def _step(store: str) -> Callable[[Run], float]:
    return lambda run: float(run["own"]["inprocess"][store]["step_us"]["1000"])


GOALS = (
    Goal(
        "one StepPlan per task, PostgreSQL: ≥ 1.0 of bare Celery's hops, prefork x 2",
        _ratio(_ONE, "bare Celery hop, prefork x 2"),
        1.0,
        True,
        " times",
    ),
    Goal("... ≥ 1.2 of the best peer on PostgreSQL", _to_best_peer(_ONE), 1.2, True, " times"),
    Goal(
        "25 StepPlans per task, PostgreSQL: ≥ 4 of the best peer on PostgreSQL",
        _to_best_peer(_MANY),
        4.0,
        True,
        " times",
    ),
    Goal(
        "... ≥ 0.6 of bare SQL with 25 steps per task, solo x 2",
        _ratio(_MANY, f"bare SQL, 25 step(s) per task, {_POOL}"),
        0.6,
        True,
        " times",
    ),
    Goal(
        "25 StepPlans per task, embedded (SQLite): ≥ 6 000 steps/s",
        lambda run: _rate(run, f"{_EMBEDDED}, {_POOL}"),
        6000,
        True,
        " /s",
    ),
    Goal(
        "submit → finished of ten steps, one StepPlan per task: p50 ≤ 30 ms",
        _latency(_ONE, "submit_to_finished", "p50"),
        30,
        False,
        " ms",
    ),
    Goal("... 25 per task: p50 ≤ 12 ms", _latency(_MANY, "submit_to_finished", "p50"), 12, False, " ms"),
    Goal("event → resumed: p50 ≤ 4 ms", _latency(_ONE, "event_to_resumed", "p50"), 4, False, " ms"),
    Goal("... p99 ≤ 10 ms", _latency(_ONE, "event_to_resumed", "p99"), 10, False, " ms"),
    Goal("timer lateness: p99 ≤ 15 ms", _latency(_ONE, "timer_lateness", "p99"), 15, False, " ms"),
    Goal("effect step 1 000 in process, in memory: ≤ 50 µs", _step("in memory"), 50, False, " µs"),
    Goal("... SQLite: ≤ 250 µs", _step("SQLite"), 250, False, " µs"),
    Goal("... JSON files: ≤ 500 µs", _step("JSON files"), 500, False, " µs"),
    Goal("effect step 10 000 to step 100, every store: ≤ 1.2", _growth, 1.2, False, " times"),
    Goal("1 000 000 parked runs: a sweep ≤ 20 ms", lambda run: _parked(run, "sweep_ms"), 20, False, " ms"),
    Goal("... an event matched and committed ≤ 5 ms", lambda run: _parked(run, "emit_ms"), 5, False, " ms"),
    Goal(
        "... throughput with them to without: ≥ 0.9",
        lambda run: _parked(run, "throughput_ratio"),
        0.9,
        True,
        " times",
    ),
)
