"""``python -m benchmarks``: prints tables, writes ``benchmarks/results.json``."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

from abstractruntime.testing.servers import PostgresServer, ValkeyServer

from . import backpressure, flatness, inprocess, latency, parked, throughput, timers
from . import costs as database_costs
from .fleet import fleet, servers
from .statistics import median, percentile

DATABASES = ("postgresql", "sqlite")
MEASUREMENTS = ("inprocess", "throughput", "latency", "flatness", "costs", "timers", "backpressure", "parked")


def main(argv: list[str] | None = None) -> int:
    """Run the chosen measurements and report them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", choices=MEASUREMENTS, action="append", help="this part; the file keeps its others"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each throughput figure (median)")
    parser.add_argument("--parked", type=int, default=parked.RUNS, help="runs that wait meanwhile")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results.json"))
    options = parser.parse_args(argv)
    chosen = options.only or MEASUREMENTS
    kept = json.loads(options.json.read_text()) if options.only and options.json.exists() else {}
    report: dict[str, Any] = {**kept, "machine": _machine(), "at": datetime.now(timezone.utc).isoformat()}
    print(f"{report['machine']}\n")
    with servers() as (valkey, postgres):
        numbers = iter(range(1, 100))
        if "inprocess" in chosen:
            report["inprocess"] = _inprocess(postgres, 1 if options.quick else options.rounds)
        if "throughput" in chosen:
            report["throughput"] = _throughput(valkey, postgres, options, lambda: next(numbers))
        if "latency" in chosen:
            report["latency_ms"] = _latency(valkey, postgres, lambda: next(numbers))
        if "flatness" in chosen:
            report["step_cost_us"] = _flatness(postgres)
        if "costs" in chosen:
            report["costs"] = _costs(postgres)
        if "timers" in chosen:
            report["timers"] = _timers(valkey, postgres, options, next(numbers))
        if "backpressure" in chosen:
            report["backpressure"] = _backpressure(valkey, postgres, options, next(numbers))
        if "parked" in chosen:
            report["parked"] = _parked(valkey, postgres, options, lambda: next(numbers))
    options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"written: {options.json}")
    return 0


def _machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    cores, python = os.cpu_count(), platform.python_version()
    return f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, Python {python}"


def _inprocess(postgres: PostgresServer, rounds: int) -> dict[str, Any]:
    report: dict[str, Any] = {}
    marks = " ".join(f"{'step ' + str(mark):>10}" for mark in inprocess.MARKS)
    title = "one effect step in process, microseconds (median)"
    print(f"{title:52} {marks} {'ratio':>7} {'checkpoint bytes':>18}")
    for store in inprocess.STORES:
        costs = [inprocess.cost_of_steps(store, postgres) for _ in range(rounds)]
        steps = {mark: median([cost.step_us[mark] for cost in costs]) for mark in inprocess.MARKS}
        ratio, sizes = median([cost.ratio for cost in costs]), costs[0].checkpoint_bytes
        cells = " ".join(f"{value:10.1f}" for value in steps.values())
        print(f"{store:52} {cells} {ratio:7.2f} {f'{sizes[0]} -> {sizes[1]}':>18}")
        report[store] = {
            "step_us": {str(mark): value for mark, value in steps.items()},
            "ratio": ratio,
            "checkpoint_bytes": sizes,
            "all": [asdict(cost) for cost in costs],
        }
    report["bare_sqlite_commit_us"] = inprocess.bare_commit_us()
    report["due_query_ms"] = inprocess.due_query_ms()
    print(f"{'bare SQLite commit of the same rows':52} {report['bare_sqlite_commit_us']:10.1f}")
    print(f"list_due_wait_until, {inprocess.RUNS_WAITING} runs, none due: {report['due_query_ms']:.3f} ms")
    print()
    return report


def _throughput(
    valkey: ValkeyServer, postgres: PostgresServer, options: argparse.Namespace, new_db: Callable[[], int]
) -> dict[str, Any]:
    rounds, scale = (1, 0.1) if options.quick else (options.rounds, 1.0)
    measured: dict[str, list[float]] = {}
    for _ in range(rounds):
        for pool in ("prefork", "solo"):
            hops = throughput.floor(valkey, pool=pool, db=new_db(), hops=int(60 * scale))
            measured.setdefault(f"floor: bare Celery no-op, {pool} x 2", []).append(hops)
        for database in DATABASES:
            for max_steps, steps in ((1, 50), (25, 200)):
                rate = throughput.steps_per_second(
                    database, valkey, postgres, max_steps=max_steps, db=new_db(), steps=int(steps * scale)
                )
                measured.setdefault(f"{database}, {max_steps} step(s) per task, solo x 2", []).append(rate)
    base = median(measured["floor: bare Celery no-op, prefork x 2"])
    print(f"{'throughput (median of ' + str(rounds) + ')':52} {'per second':>10} {'x floor':>8}")
    for name, rates in measured.items():
        print(f"{name:52} {median(rates):10.0f} {median(rates) / base:8.2f}")
    print()
    return {name: {"median": median(rates), "all": rates} for name, rates in measured.items()}


def _latency(valkey: ValkeyServer, postgres: PostgresServer, new_db: Callable[[], int]) -> dict[str, Any]:
    report: dict[str, Any] = {}
    print(f"{'latency on an idle fleet, and under half load, ms':52} {'p50':>10} {'p99':>8}")
    for database in DATABASES:
        with fleet(database, valkey, postgres, max_steps=1, db=new_db()) as running:
            for name, measure in (
                ("start -> first step", latency.start_to_first_step),
                ("event -> resumed", latency.event_to_resumed),
                ("timer lateness", latency.timer_lateness),
            ):
                report[f"{database}: {name}"] = _spread(f"{database}: {name}", measure(running))
            with latency.half_load(running) as pace:
                name = f"{database}: event -> resumed beside {pace:.0f} steps/s"
                values = latency.event_to_resumed(running)
            report[f"{database}: event -> resumed, half load"] = _spread(name, values)
    print()
    return report


def _spread(name: str, values: list[float]) -> dict[str, float]:
    row = {"p50": percentile(values, 0.5), "p99": percentile(values, 0.99)}
    print(f"{name:52} {row['p50']:10.1f} {row['p99']:8.1f}")
    return row


def _flatness(postgres: PostgresServer) -> dict[str, Any]:
    report: dict[str, Any] = {}
    header = " ".join(f"{'step ' + str(mark):>10}" for mark in flatness.MARKS)
    print(f"{'cost of one step, microseconds (median)':52} {header} {'ratio':>7}")
    for database in DATABASES:
        costs = flatness.cost_of_steps(database, postgres)
        first, last = costs[flatness.MARKS[0]], costs[flatness.MARKS[-1]]
        cells = " ".join(f"{cost:10.0f}" for cost in costs.values())
        print(f"{database:52} {cells} {last / first:7.2f}")
        report[database] = {**{str(mark): cost for mark, cost in costs.items()}, "ratio": last / first}
    print()
    return report


def _timers(
    valkey: ValkeyServer, postgres: PostgresServer, options: argparse.Namespace, db: int
) -> dict[str, Any]:
    share = 10 if options.quick else 1
    with fleet("postgresql", valkey, postgres, max_steps=1, db=db, pulse=True) as running:
        seen = timers.timers(running, timers=timers.TIMERS // share, burst=timers.BURST // share)
    print(
        f"postgresql: {seen.timers} timers, {seen.burst} due in one second: {seen.fired} fired, {seen.twice} "
        f"twice, all within {seen.elapsed_s:.1f} s, late by {seen.p50_ms:.0f} / {seen.p99_ms:.0f} ms "
        f"(p50 / p99)\n  largest worker {seen.before_mib:.1f} -> {seen.peak_mib:.1f} (peak) -> "
        f"{seen.after_mib:.1f} MiB, at most {seen.queued} messages in the broker's queues and {seen.held} "
        "held by workers\n"
    )
    return asdict(seen)


def _backpressure(
    valkey: ValkeyServer, postgres: PostgresServer, options: argparse.Namespace, db: int
) -> dict[str, Any]:
    threads, samples = 64, backpressure.SAMPLES // (5 if options.quick else 1)
    effects = backpressure.EFFECTS // (2 if options.quick else 1)
    with fleet("postgresql", valkey, postgres, max_steps=1, db=db, effects=threads, pulse=True) as running:
        seen = backpressure.back_pressure(running, effects=effects, samples=samples)
    title = f"{effects} effects of {backpressure.SECONDS:g} s on {threads} threads, p50 / p99 in ms"
    print(f"{title:52} {'idle':>16} {'beside them':>16} {'p99 ratio':>10}")
    for name, value in seen.latencies.items():
        idle = f"{value.idle_p50:.1f} / {value.idle_p99:.1f}"
        busy = f"{value.busy_p50:.1f} / {value.busy_p99:.1f}"
        print(f"{name:52} {idle:>16} {busy:>16} {value.ratio:10.2f}")
    print(f"{seen.left} of them were left when the last was measured; all took {seen.elapsed_s:.1f} s\n")
    latencies = {name: {**asdict(value), "ratio": value.ratio} for name, value in seen.latencies.items()}
    return {**asdict(seen), "latencies": latencies}


def _costs(postgres: PostgresServer) -> dict[str, Any]:
    report: dict[str, Any] = {}
    print(f"{'one effect step asks of the database':52} {'statements':>10} {'rows':>6} {'log bytes':>10}")
    for database in DATABASES:
        for max_steps in (1, 25):
            cost = database_costs.cost_of_a_step(database, postgres, max_steps=max_steps)
            name = f"{database}, {max_steps} step(s) per task"
            rows = "-" if cost.rows is None else f"{cost.rows:.1f}"
            print(f"{name:52} {cost.statements:10.2f} {rows:>6} {cost.wal_bytes:10.0f}")
            report[name] = asdict(cost)
    print()
    return report


def _parked(
    valkey: ValkeyServer, postgres: PostgresServer, options: argparse.Namespace, new_db: Callable[[], int]
) -> dict[str, Any]:
    report: dict[str, Any] = {}
    # More than the default are copied inside the database, which is PostgreSQL's way.
    for database in DATABASES if options.parked <= parked.RUNS else ("postgresql",):
        with (
            fleet(database, valkey, postgres, max_steps=1, db=new_db()) as running,
            fleet(database, valkey, postgres, max_steps=1, db=new_db()) as empty,
        ):
            if options.quick:
                figures = parked.parked_runs(running, empty, options.parked, steps=10, rounds=1)
            else:
                figures = parked.parked_runs(running, empty, options.parked)
        report[database] = {**asdict(figures), "throughput_ratio": figures.throughput_ratio}
        print(
            f"{database}: {figures.runs} parked runs: worker memory {figures.memory_before_mib:.1f} -> "
            f"{figures.memory_after_mib:.1f} MiB, broker {figures.broker_before} -> {figures.broker_after} "
            f"messages, one sweep {figures.sweep_ms:.2f} ms ({figures.hints} hints), listing "
            f"{figures.list_ms:.1f} ms\n"
            f"  event committed {figures.emit_ms:.1f} / {figures.emit_p99_ms:.1f} ms, "
            f"resumed {figures.resumed_ms:.1f} / {figures.resumed_p99_ms:.1f} ms (p50 / p99); "
            f"{figures.steps_without:.0f} steps/s without "
            f"them, {figures.steps_with:.0f} with (x {figures.throughput_ratio:.2f})"
        )
    print()
    return report


if __name__ == "__main__":
    sys.exit(main())
