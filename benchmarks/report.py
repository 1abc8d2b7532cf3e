"""``python -m benchmarks.report`` writes the figures into ``docs/performance.md`` from the committed results.

The results are `benchmarks/results.json` and `benchmarks/peers/results.json`. On the page, `BLOCKS[NAME]`
renders what stands between ``<!-- figures: NAME -->`` and ``<!-- /figures -->``; the rest is written by hand.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .goals import judged
from .peers.figures import LATENCIES, STORES

__all__ = ["BLOCKS", "PAGE", "Results", "load_results", "with_figures"]

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"

_BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- /figures -->\n)", re.DOTALL)
_TITLES = {
    "submit_to_finished": "submit → finished",
    "event_to_resumed": "event → resumed",
    "timer_lateness": "timer lateness",
}


@dataclass(frozen=True, slots=True)
class Results:
    """The two files; an empty object where one is not there.

    Attributes:
        own: what ``python -m benchmarks`` wrote.
        peers: what ``python -m benchmarks.peers`` wrote.
    """

    own: dict[str, Any]
    peers: dict[str, Any]


def load_results(root: Path = ROOT) -> Results:
    """The committed results."""
    own, peers = root / "benchmarks" / "results.json", root / "benchmarks" / "peers" / "results.json"
    return Results(*(json.loads(each.read_text()) if each.exists() else {} for each in (own, peers)))


def with_figures(page: str, results: Results) -> str:
    """The page with all its blocks as the results have them.

    Raises:
        KeyError: the page names a block that there is not.
    """
    return _BLOCK.sub(lambda match: match[1] + "\n" + BLOCKS[match[2]](results) + "\n" + match[3], page)


def _table(header: list[str], rows: list[list[str]]) -> str:
    if not rows:
        return "Not in the committed results.\n"
    ruler = ["---", *["---:"] * (len(header) - 1)]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in (header, ruler, *rows))


def _number(value: float) -> str:
    """Three figures that count; thousands apart."""
    if isinstance(value, int) or value >= 100:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _peers_run(results: Results) -> str:
    run = results.peers
    if not run:
        return "No run of `python -m benchmarks.peers` is committed.\n"
    load = f"load average at the start {run['load']:.1f}" if "load" in run else "load average not taken"
    lines = [
        f"{run['machine']}; {load}; {run['at'][:10]}. {run['rounds']} round(s) of {run['runs']} runs of "
        f"{run['steps_per_run']} steps, {run['processes']} worker processes.\n"
    ]
    lines += [f"\nLeft out: {reason}.\n" for reason in run["left_out"].values()]
    lines += [f"\n{peer} failed: {reason}\n" for peer, reason in run.get("failed", {}).items()]
    return "".join(lines)


def _own_run(results: Results) -> str:
    run = results.own
    if not run:
        return "No run of `python -m benchmarks` is committed.\n"
    return f"{run['machine']}; {run['at'][:10]}.\n"


def _goals(results: Results) -> str:
    rows = [
        [goal.text, goal.shown(value), {True: "yes", False: "**no**", None: "not measured"}[reached]]
        for goal, value, reached in judged({**results.peers, "own": results.own})
    ]
    return _table(["goal", "measured", "reached"], rows)


def _throughput(results: Results) -> str:
    rates = results.peers.get("throughput", {})
    floor = rates.get("bare Celery hop, prefork x 2", {}).get("median")
    rows = [
        [
            name,
            _number(rate["median"]),
            f"{_number(min(rate['all']))} to {_number(max(rate['all']))}",
            _number(rate["median"] / floor) if floor else "",
        ]
        for name, rate in rates.items()
    ]
    return _table(["steps (or hops) per second", "median", "rounds", "/ prefork hops"], rows)


def _latency(results: Results) -> str:
    rows = []
    for name, measured in results.peers.get("latency_ms", {}).items():
        cells = [
            f"{_number(measured[each]['p50'])} / {_number(measured[each]['p99'])}"
            if each in measured
            else "-"
            for each in LATENCIES
        ]
        rows.append([name, *cells])
    return _table(["p50 / p99, ms", *(_TITLES[each] for each in LATENCIES)], rows)


def _percentiles(measured: dict[str, float] | None) -> str:
    return "-" if measured is None else f"{_number(measured['p50'])} / {_number(measured['p99'])}"


def _step_cost(results: Results) -> str:
    rows = []
    for name, stores in results.peers.get("step_us", {}).items():
        for store in STORES:
            marks = stores.get(store, {})
            rows.append([f"{name}, {store}", *(_number(marks[mark]) for mark in marks)])
    return _table(["one effect step, µs", "at step 100", "at step 1 000"], rows)


def _versions(results: Results) -> str:
    wanted = ("celery", "dbos", "absurd-sdk", "langgraph", "langgraph-checkpoint-postgres", "abstractruntime")
    rows = []
    for peer, versions in results.peers.get("versions", {}).items():
        packages = [f"{name} {versions[name]}" for name in (*wanted, "psycopg") if name in versions]
        rows.append([peer, ", ".join(packages)])
    return _table(["environment", "packages"], rows).replace("---:", "---")


def _inprocess(results: Results) -> str:
    measured = results.own.get("inprocess", {})
    stores = {name: each for name, each in measured.items() if isinstance(each, dict) and "step_us" in each}
    if not stores:
        return _table([], [])
    marks = list(next(iter(stores.values()))["step_us"])
    rows = [
        [name, *(_number(each["step_us"][mark]) for mark in marks), f"{each['ratio']:.2f}"]
        for name, each in stores.items()
    ]
    return _table(["one effect step, µs", *(f"at step {mark}" for mark in marks), "last / first"], rows)


def _section(name: str, title: str, *, things_in_rows: bool) -> Callable[[Results], str]:
    """A table of a section of ``python -m benchmarks`` that maps things to their figures, or is figures."""

    def render(results: Results) -> str:
        measured: dict[str, Any] = results.own.get(name, {})
        things = {key: value for key, value in measured.items() if isinstance(value, dict)}
        if not things:
            things = {"": measured} if measured else {}
        figures = list(dict.fromkeys(figure for thing in things.values() for figure in thing))
        shown = [figure.replace("_", " ") for figure in figures]
        rows = [[key, *(_cell(thing.get(figure)) for figure in figures)] for key, thing in things.items()]
        if things_in_rows:
            return _table([title, *shown], rows)
        columns = [list(cells) for cells in zip(shown, *(row[1:] for row in rows), strict=True)]
        return _table([title, *things], columns)

    return render


def _back_pressure(results: Results) -> str:
    latencies = results.own.get("backpressure", {}).get("latencies", {})
    rows = [
        [
            name,
            *(" / ".join(_number(each[f"{when}_{p}"]) for p in ("p50", "p99")) for when in ("idle", "busy")),
            _number(each["ratio"]),
        ]
        for name, each in latencies.items()
    ]
    return _table(["p50 / p99, ms", "idle", "beside 500 slow effects", "p99, busy / idle"], rows)


def _cell(value: object) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number(value)
    if isinstance(value, list) and value and all(isinstance(each, int | float) for each in value):
        return " to ".join(_number(each) for each in (min(value), max(value)))
    return "-" if value is None else str(value)


BLOCKS: dict[str, Callable[[Results], str]] = {
    "peers-run": _peers_run,
    "goals": _goals,
    "throughput": _throughput,
    "latency": _latency,
    "step-cost": _step_cost,
    "versions": _versions,
    "own-run": _own_run,
    "inprocess": _inprocess,
    "chains": _section("throughput", "steps (or hops) per second", things_in_rows=True),
    "idle": _section("latency_ms", "ms", things_in_rows=True),
    "flatness": _section("step_cost_us", "µs at step", things_in_rows=True),
    "costs": _section("costs", "one effect step", things_in_rows=True),
    "backpressure": _back_pressure,
    "timers": _section("timers", "timers", things_in_rows=False),
    "parked": _section("parked", "parked runs", things_in_rows=False),
}
"""What a block of the page is filled with."""


def main() -> int:
    """Write the page."""
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(with_figures(page, load_results()), encoding="utf-8")
    print(f"written: {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
