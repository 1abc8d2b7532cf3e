"""One function per peer: start what it needs, let it do the work, write down the figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import psycopg

from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer, ValkeyServer

from .. import latency
from ..fleet import ROOT, Fleet, fleet
from .celery_workers import celery_workers
from .environments import Environment, Environments
from .figures import MARKS, STORES, Figures
from .script import Script

__all__ = ["PEERS", "Bench", "Work"]

STEPS = 10
PROCESSES = 2


@dataclass(frozen=True, slots=True)
class Work:
    """How much of everything one round does.

    Attributes:
        runs: runs of ten steps, per throughput figure.
        warm_up: runs before the clock starts.
        samples: of each latency.
    """

    runs: int
    warm_up: int
    samples: int


class Bench:
    """The servers, the peers' environments, the amount of work, and where figures go."""

    def __init__(
        self,
        valkey: ValkeyServer,
        postgres: PostgresServer,
        environments: Environments,
        work: Work,
        figures: Figures,
    ) -> None:
        self.valkey, self.postgres, self.environments = valkey, postgres, environments
        self.work, self.figures = work, figures
        self._numbers = count(1)

    def broker(self) -> str:
        """URL of an empty logical database of the Valkey server."""
        return self.valkey.url_for(self.number())

    def number(self) -> int:
        """The next free logical database."""
        return next(self._numbers) % 128

    def database(self, name: str) -> str:
        """URL of a new PostgreSQL database, as libpq has it."""
        url = create_database(self.postgres.url, f"{name}_{time.time_ns()}")
        return url.replace("postgresql+psycopg://", "postgresql://", 1)

    def environment(self, peer: str) -> Environment:
        """The peer's environment; its versions go into the report."""
        made = self.environments.of(peer)
        self.figures.versions[peer] = made.versions
        return made

    def throughput(self, row: str, measure: Callable[[int], float]) -> None:
        """Warm up, then measure: `measure(runs)` gives the seconds from first submit to last finish."""
        measure(self.work.warm_up)
        self.figures.add_throughput(row, self.work.runs * STEPS / measure(self.work.runs))

    def latencies(self, row: str, client: Script, *names: str) -> None:
        """Ask a script for its samples."""
        for name in names:
            arguments = {"steps": STEPS} if name == "submit_to_finished" else {}
            values = client.ask(name, samples=self.work.samples, **arguments)
            self.figures.add_latency(row, name, values)


@contextmanager
def _scripts(*scripts: Script) -> Iterator[tuple[Script, ...]]:
    with ExitStack() as stack:
        for script in scripts:
            stack.enter_context(script)
        for script in scripts:
            script.wait_until_ready()
        yield scripts


def _together(scripts: tuple[Script, ...], runs: int) -> float:
    """Seconds until all processes have done their share of the runs."""
    started = time.perf_counter()
    for script in scripts:
        script.send("direct", runs=runs // len(scripts), steps=STEPS)
    for script in scripts:
        script.receive("direct")
    return time.perf_counter() - started


def celery(bench: Bench) -> None:
    """The floor: hops, and durable steps with nothing around them."""
    environment = bench.environment("celery")
    for pool in ("prefork", "solo"):
        variables = {"REDIS_URL": bench.broker(), "DATABASE_URL": bench.database("bare")}
        with (
            celery_workers(
                environment.python, "bare_celery", "bare", variables, pool=pool, processes=PROCESSES
            ),
            _scripts(Script(environment.python, "bare_celery_client.py", variables=variables)) as (client,),
        ):
            where = f"{pool} x {PROCESSES}"
            bench.throughput(
                f"bare Celery hop, {where}", lambda runs: float(client.ask("hops", runs=runs, steps=STEPS))
            )
            for per_task in (1, 25):
                bench.throughput(
                    f"bare SQL, {per_task} step(s) per task, {where}",
                    lambda runs: float(client.ask("durable", runs=runs, steps=STEPS, per_task=per_task)),  # noqa: B023 (called at once)
                )


def dbos(bench: Bench) -> None:
    """DBOS with one and with two processes; started where they run, and through its queue."""
    environment = bench.environment("dbos")

    def script(name: str) -> Script:
        return Script(environment.python, "dbos_app.py", name, variables=variables)

    variables = {"DATABASE_URL": bench.database("dbos_one")}
    with _scripts(script("first")) as one:
        bench.throughput("DBOS, 1 process, started directly", lambda runs: _together(one, runs))
        bench.latencies("DBOS", one[0], "submit_to_finished", "event_to_resumed", "timer_lateness")
    variables = {"DATABASE_URL": bench.database("dbos_two")}
    with _scripts(script("first")) as (first,), _scripts(script("second")) as (second,):
        both = (first, second)
        bench.throughput("DBOS, 2 processes, started directly", lambda runs: _together(both, runs))
        bench.throughput(
            "DBOS, 2 processes, queue", lambda runs: float(first.ask("queued", runs=runs, steps=STEPS))
        )


def absurd(bench: Bench) -> None:
    """Absurd with two workers."""
    environment = bench.environment("absurd")
    schema = bench.environments.absurd_schema()
    variables = {"DATABASE_URL": bench.database("absurd")}
    _execute(variables["DATABASE_URL"], schema)
    with (
        _scripts(Script(environment.python, "absurd_app.py", "client", variables=variables)) as (client,),
        _scripts(
            *(
                Script(environment.python, "absurd_app.py", "worker", variables=variables)
                for _ in range(PROCESSES)
            )
        ),
    ):
        bench.throughput(
            "Absurd, 2 workers", lambda runs: float(client.ask("queued", runs=runs, steps=STEPS))
        )
        bench.latencies("Absurd", client, "submit_to_finished", "event_to_resumed", "timer_lateness")


def langgraph(bench: Bench) -> None:
    """LangGraph with its PostgresSaver, invoked in two processes."""
    environment = bench.environment("langgraph")
    variables = {"DATABASE_URL": bench.database("langgraph")}
    with _scripts(
        *(Script(environment.python, "langgraph_app.py", variables=variables) for _ in range(PROCESSES))
    ) as both:
        both[0].ask("setup")
        bench.throughput("LangGraph, 2 processes", lambda runs: _together(both, runs))
        bench.latencies("LangGraph", both[0], "submit_to_finished", "event_to_resumed")


def published(bench: Bench) -> None:
    """The published release: one process, SQLite, and what a step costs in process."""
    environment = bench.environment("published")
    row = f"published abstractruntime {environment.versions['abstractruntime']}"
    _in_process(bench, row, environment.python, {})


def ours(bench: Bench) -> None:
    """This release: in process as the published one, then the fleet."""
    _in_process(bench, "this release", Path(sys.executable), {"PYTHONPATH": str(ROOT)})
    for database, max_steps in (("postgresql", 1), ("postgresql", 25), ("sqlite", 25)):
        shown = {"postgresql": "PostgreSQL", "sqlite": "embedded (SQLite)"}[database]
        row = f"this release, {shown}, {max_steps} step(s) per task"
        with fleet(
            database, bench.valkey, bench.postgres, max_steps=max_steps, db=bench.number(), ticks=PROCESSES
        ) as running:
            bench.throughput(f"{row}, solo x {PROCESSES}", lambda runs: _fleet_seconds(running, runs))
            samples = bench.work.samples
            for name, measure in (
                ("submit_to_finished", lambda: latency.submit_to_finished(running, STEPS, samples)),  # noqa: B023
                ("event_to_resumed", lambda: latency.event_to_resumed(running, samples)),  # noqa: B023
                ("timer_lateness", lambda: latency.timer_lateness(running, samples)),  # noqa: B023
            ):
                bench.figures.add_latency(row, name, measure())


def _in_process(bench: Bench, row: str, python: Path, variables: dict[str, str]) -> None:
    with _scripts(Script(python, "abstractruntime_app.py", variables=variables)) as (only,):
        here = f"{row}, in process, SQLite"
        bench.throughput(here, lambda runs: float(only.ask("direct", runs=runs, steps=STEPS)))
        bench.latencies(here, only, "submit_to_finished", "event_to_resumed")
        for store in STORES:
            bench.figures.add_step_cost(row, store, only.ask("step_cost", store=store, marks=MARKS))


def _fleet_seconds(running: Fleet, runs: int) -> float:
    """As `benchmarks.throughput`; ten effect steps, and an eleventh StepPlan that completes the run."""
    started = time.perf_counter()
    submitted = running.client.start_many("chain", [{"steps": STEPS + 1}] * runs)
    for run_id in submitted:
        running.client.wait(run_id, timeout=300)
    return time.perf_counter() - started


def _execute(url: str, statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statements.encode())


PEERS: dict[str, Callable[[Bench], None]] = {
    "celery": celery,
    "dbos": dbos,
    "absurd": absurd,
    "langgraph": langgraph,
    "published": published,
    "ours": ours,
}
