"""What a chaos run found, as text for people and as JSON."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .evidence import Evidence, Violation
from .injector import Injected
from .plan import Plan
from .recovery import Recovered

__all__ = ["Report", "duplicate_calls"]

_EDGES_S = (0.25, 0.5, 1.0, 2.0, 3.0, 4.5, 6.0, 9.0, 15.0)
_BAR = 24
_SHOWN = 25


@dataclass(slots=True)
class Report:
    """All figures of one chaos run.

    Attributes:
        database: ``sqlite`` or ``postgresql``.
        lasted_s: with the time it took to come to rest.
        settled: whether it came to rest in time.
        process_starts: processes started, all in all.
        own_deaths: processes that ended although nobody killed them, and how often which way.
        repeated_acts: client calls that failed and were made again, by kind of error.
    """

    plan: Plan
    database: str
    lasted_s: float = 0.0
    settle_s: float = 0.0
    settled: bool = False
    injected: Sequence[Injected] = ()
    recovered: Sequence[Recovered] = ()
    violations: list[Violation] = field(default_factory=list)
    by_status: Mapping[str, int] = field(default_factory=dict)
    runs: int = 0
    commits: int = 0
    records: int = 0
    steps: int = 0
    redone: int = 0
    keys: int = 0
    calls: int = 0
    duplicates: int = 0
    process_starts: int = 0
    own_deaths: Mapping[str, Counter[str]] = field(default_factory=dict)
    repeated_acts: Mapping[str, int] = field(default_factory=dict)

    def count(self, evidence: Evidence) -> None:
        """Take the figures that are in the evidence."""
        self.runs = len(evidence.runs)
        self.by_status = dict(Counter(run.status for run in evidence.runs.values()))
        self.commits = sum(run.version for run in evidence.runs.values())
        self.records = sum(len(run.ledger) for run in evidence.runs.values())
        for run in evidence.runs.values():
            for record in run.records:
                self.steps += record["status"] != "started"
                self.redone += record["status"] == "started" and record["attempt"] > 1
        self.calls = len(evidence.calls)
        self.keys = len({key for key, _, _, _ in evidence.calls})
        self.duplicates = duplicate_calls(evidence)

    @property
    def held(self) -> bool:
        """Whether every invariant held."""
        return not self.violations

    # -- text -----------------------------------------------------------------------------------

    def lines(self) -> Iterator[str]:
        """The report for people."""
        plan = self.plan
        yield ""
        yield f"seed          {plan.seed}"
        yield f"time          {plan.seconds:.0f} s of chaos, {self.settle_s:.1f} s until all was at rest"
        done = [fault for fault in self.injected if not fault.missed]
        yield f"faults        {len(done)} injected, {len(self.injected) - len(done)} found their target down"
        for kind, times in sorted(self._times().items()):
            yield f"  {kind:17} {len(times):3}  at {', '.join(f'{at:.0f}' for at in times)} s"
        states = ", ".join(f"{count} {status}" for status, count in sorted(self.by_status.items()))
        yield f"runs          {self.runs}: {states}"
        rate = self.commits / self.lasted_s if self.lasted_s else 0.0
        yield f"steps         {self.steps} records of done steps, {self.commits} commits, {rate:.0f}/s"
        again = ", ".join(f"{count} {error}" for error, count in sorted(self.repeated_acts.items()))
        yield f"done again    {self.redone} attempts after the first; client calls: {again or 'none'}"
        share = self.duplicates / self.keys if self.keys else 0.0
        yield (
            f"outside       {self.calls} calls, {self.keys} idempotency keys, "
            f"{self.duplicates} calls more than needed ({share:.2%} of the keys)"
        )
        yield f"processes     {self.process_starts} started{self._own_deaths()}"
        yield from self._recovery()
        yield ""
        yield from self._verdict()

    def _times(self) -> dict[str, list[float]]:
        times: dict[str, list[float]] = defaultdict(list)
        for fault in self.injected:
            if not fault.missed:
                times[fault.planned.kind.value].append(fault.began_s)
        return times

    def _own_deaths(self) -> str:
        if not self.own_deaths:
            return ", none died by itself"
        parts = [f"{name}: {how} x{n}" for name, ways in self.own_deaths.items() for how, n in ways.items()]
        return "; died by themselves: " + "; ".join(parts[:6])

    def _recovery(self) -> Iterator[str]:
        yield f"recovery      lease {self.plan.lease_s:g} s; s to the first commit / until all runs go again"
        for group, faults in sorted(self.groups().items()):
            first, going = (figures(values) for values in faults)
            yield f"  {group:9} n={first['n']:<3} first {_spread(first)}   all {_spread(going)}"
        yield "  all runs going again, faults by seconds:"
        yield from _histogram([value for _, values in self.groups().values() for value in values])

    def groups(self) -> dict[str, tuple[list[float], list[float]]]:
        """Seconds to the first commit, and to all runs going again, by group of faults."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for fault in self.recovered:
            first, every = found.setdefault(fault.group, ([], []))
            first.append(math.inf if fault.first_commit_s is None else fault.first_commit_s)
            if fault.in_flight:
                every.append(math.inf if fault.all_going_s is None else fault.all_going_s)
        return found

    def _verdict(self) -> Iterator[str]:
        if self.held:
            yield "All invariants held."
            return
        yield f"{len(self.violations)} violation(s):"
        for violation in self.violations[:_SHOWN]:
            where = f" (run {violation.run_id})" if violation.run_id else ""
            yield f"  - {violation.check}: {violation.text}{where}"
        if len(self.violations) > _SHOWN:
            yield f"  ... and {len(self.violations) - _SHOWN} more"

    # -- JSON -----------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "seed": self.plan.seed,
            "database": self.database,
            "chaos_s": self.plan.seconds,
            "settle_s": round(self.settle_s, 2),
            "settled": self.settled,
            "lease_s": self.plan.lease_s,
            "faults": [
                {
                    "kind": fault.planned.kind.value,
                    "target": fault.planned.target,
                    "rule": fault.planned.rule,
                    "planned_s": fault.planned.at_s,
                    "began_s": round(fault.began_s, 3),
                    "ended_s": round(fault.ended_s, 3),
                    "missed": fault.missed,
                }
                for fault in self.injected
            ],
            "runs": self.runs,
            "by_status": dict(self.by_status),
            "steps": self.steps,
            "records": self.records,
            "commits": self.commits,
            "commits_per_s": round(self.commits / self.lasted_s, 1) if self.lasted_s else None,
            "attempts_after_the_first": self.redone,
            "client_calls_repeated": dict(self.repeated_acts),
            "oracle": {"calls": self.calls, "keys": self.keys, "duplicates": self.duplicates},
            "duplicate_call_rate": round(self.duplicates / self.keys, 5) if self.keys else 0.0,
            "process_starts": self.process_starts,
            "own_deaths": {name: dict(ways) for name, ways in self.own_deaths.items()},
            "recovery": {
                group: {"first_commit_s": _finite(first), "all_going_s": _finite(every)}
                for group, (first, every) in self.groups().items()
            },
            "violations": [
                {"check": each.check, "run_id": each.run_id, "text": each.text} for each in self.violations
            ],
            "held": self.held,
        }


def duplicate_calls(evidence: Evidence) -> int:
    """Accepted calls beyond the first of their key. (A refused call had to be repeated.)"""
    accepted = Counter(key for key, _, _, ok in evidence.calls if ok)
    return sum(count - 1 for count in accepted.values())


def figures(values: Sequence[float]) -> dict[str, float]:
    """Number, median, 95th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return {"n": 0, "p50": 0.0, "p95": 0.0, "max": 0.0}
    last = len(ordered) - 1
    return {
        "n": len(ordered),
        "p50": ordered[round(last * 0.5)],
        "p95": ordered[round(last * 0.95)],
        "max": ordered[-1],
    }


def _spread(found: Mapping[str, float]) -> str:
    if not found["n"]:
        return "(nothing was in flight)"
    return f"p50 {found['p50']:.1f} p95 {found['p95']:.1f} max {found['max']:.1f}"


def _histogram(values: Sequence[float]) -> Iterator[str]:
    most = 1
    rows: list[tuple[str, int]] = []
    below = 0.0
    for edge in (*_EDGES_S, math.inf):
        count = sum(below < value <= edge for value in values) if edge < math.inf else 0
        if edge == math.inf:
            count = sum(value > below for value in values)
        label = f"<= {edge:g}" if edge < math.inf else f"> {below:g}"
        rows.append((label, count))
        most = max(most, count)
        below = edge
    for label, count in rows:
        yield f"    {label:>7}  {count:3}  {'#' * round(_BAR * count / most)}"


def _finite(values: Sequence[float]) -> list[float | None]:
    return [None if math.isinf(value) else round(value, 2) for value in values]
