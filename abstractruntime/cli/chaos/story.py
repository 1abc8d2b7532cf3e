"""A chaos run from beginning to end: plan, fleet, chaos, rest, checks."""

from __future__ import annotations

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

from abstractruntime.core.errors import RuntimeFault
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.statements import statement
from workers.client import Client
from workers.embedded.child import ChildProcess
from workers.embedded.errors import EmbeddedFleetError
from workers.roles import Command
from workers.settings import Settings, load_settings

from .checks import check_all
from .crew import Processes
from .evidence import Evidence, Violation, read_evidence
from .flows import ORACLE_URL
from .injector import Injector
from .kinds import possible_kinds, wanted_kinds
from .oracle import Call
from .outside import Outside
from .plan import Plan, make_plan
from .recovery import Recovery
from .report import Report
from .schedule import Crew
from .servers import Broker, RunsDatabase, open_broker, open_runs_database

__all__ = ["Options", "busy_runs", "play"]

APP = "abstractruntime.cli.chaos.flows:app"
# Short durations, so that a recovery is seen in seconds and many of them fit into a run.
TIMING = {
    "lease": 3.0,
    "redelivery_grace": 2.0,
    "sweep_interval": 0.5,
    "timer_horizon": 4.0,
    "publish_timeout": 0.5,
    # A step that meets several faults must go on; what stops it is tested elsewhere.
    "max_crashes": 30,
}
_ORACLE_TIMEOUT_S = 20.0
_READY_S = 90.0
_LOOK_S = 0.5
_RESTFUL_LOOKS = 3
_BUSY = statement("SELECT count(*) FROM runs WHERE wake_at IS NOT NULL OR status = 'running'")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the caller wants.

    Attributes:
        seconds: of chaos.
        faults: names as `kinds.wanted_kinds` takes them.
        database: ``postgresql`` or ``sqlite``.
        database_url: a PostgreSQL server to make the run's database on; ``None`` = from the wheel.
        redis_url: an empty logical database of a Redis; ``None`` = from the wheel.
        patience_s: how long it may take to come to rest after the chaos.
    """

    seed: int
    runs: int
    seconds: float
    faults: str = "all"
    database: str = "postgresql"
    database_url: str | None = None
    redis_url: str | None = None
    patience_s: float = 120.0


def plan_of(options: Options) -> Plan:
    """The plan of these options, before anything is started.

    Raises:
        InvalidInputError: ``faults`` names something that is not possible.
    """
    possible = possible_kinds(
        sqlite=options.database == "sqlite",
        own_broker=options.redis_url is None,
        own_database=options.database_url is None,
    )
    return make_plan(
        options.seed,
        runs=options.runs,
        seconds=options.seconds,
        kinds=wanted_kinds(options.faults, possible),
        crew=Crew(),
        lease_s=TIMING["lease"],
    )


def play(options: Options, folder: Path, *, say: Say) -> Report:
    """The whole run; data, logs and, of what went wrong, ledgers are in ``folder``."""
    plan = plan_of(options)
    plan.write(folder / "plan.json")
    say(f"seed {plan.seed}: {len(plan.runs)} runs, {len(plan.faults)} faults in {plan.seconds:.0f} s")
    report = Report(plan, options.database)
    with ExitStack() as stack:
        say(f"starting Valkey, {options.database}, the oracle and the fleet's processes")
        broker = open_broker(options.redis_url, folder, stack)
        database = open_runs_database(options.database, options.database_url, folder, stack)
        settings = load_settings(
            app=APP, database_url=database.url, redis_url=broker.url, broker_url=None, **TIMING
        )
        oracle = stack.enter_context(_oracle(folder))
        evidence = _Scene(plan, folder, broker, database, settings, oracle, say).play(
            report, options.patience_s
        )
    report.count(evidence)
    report.violations += check_all(evidence)
    if report.violations:
        _save(folder / "violations", evidence, report.violations)
    (folder / "report.json").write_text(json.dumps(report.to_dict(), indent=1), encoding="utf-8")
    return report


class _Scene:
    """The part with a running fleet."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        broker: Broker,
        database: RunsDatabase,
        settings: Settings,
        oracle: str,
        say: Say,
    ) -> None:
        self._plan = plan
        self._broker = broker
        self._database = database
        self._settings = settings
        self._oracle = oracle
        self._say = say
        logs = folder / "logs"
        logs.mkdir()
        env = _environment(settings, oracle)
        self._processes = Processes(settings, plan.crew, env, cwd=folder, log_folder=logs)

    def play(self, report: Report, patience_s: float) -> Evidence:
        looking = self._database.open()
        try:
            self._processes.start(_READY_S)
            with Client(settings=self._settings) as client:
                outside = self._chaos(client, looking, report, patience_s)
        finally:
            self._processes.stop()
        report.process_starts = self._processes.starts()
        report.own_deaths = self._processes.own_deaths()
        report.repeated_acts = outside.journal.repeated
        report.violations += [
            Violation("clients get what they ask for", run_id, text)
            for run_id, text in (*outside.journal.failures, *outside.unfinished())
        ]
        try:
            return read_evidence(
                looking,
                calls=_calls(self._oracle),
                planned=self._plan.runs,
                started=outside.journal.started,
                accepted=outside.journal.accepted,
            )
        finally:
            looking.close()

    def _chaos(self, client: Client, looking: Database, report: Report, patience_s: float) -> Outside:
        recovery = Recovery(self._database.open())
        injector = Injector(
            self._plan.faults, self._processes, self._broker, self._database, recovery, say=self._say
        )
        began = time.monotonic()
        recovery.start()
        try:
            with Outside(client, self._plan.runs) as outside:
                injector.start()
                try:
                    self._watch(began, outside, recovery)
                finally:
                    injector.finish()
                self._say("the chaos is over; waiting for everything to come to rest")
                quiet = time.monotonic()
                self._processes.await_ready(_READY_S)
                report.settled = self._settle(looking, outside, quiet + patience_s)
                report.settle_s = time.monotonic() - quiet
        finally:
            recovery.stop()
        report.lasted_s = time.monotonic() - began
        report.injected, report.recovered = injector.injected, recovery.found
        if not report.settled:
            report.violations.append(
                Violation("comes to rest", "", f"work is still being done after {patience_s:g} s")
            )
        report.violations += [Violation("never goes back", *found) for found in recovery.complaints]
        return outside

    def _watch(self, began: float, outside: Outside, recovery: Recovery) -> None:
        told = 0.0
        while (now := time.monotonic() - began) < self._plan.seconds:
            time.sleep(min(_LOOK_S, self._plan.seconds - now))
            if now - told >= 15.0:
                told = now
                started = len(outside.journal.started)
                self._say(f"{now:6.1f} s  {started} runs started, {recovery.commits} commits")

    def _settle(self, looking: Database, outside: Outside, deadline: float) -> bool:
        """Whether nothing is left to do, seen several times in a row."""
        restful = 0
        while time.monotonic() < deadline:
            restful = restful + 1 if outside.open == 0 and busy_runs(looking) == 0 else 0
            if restful >= _RESTFUL_LOOKS:
                return True
            time.sleep(_LOOK_S)
        return False


def busy_runs(database: Database) -> int:
    """How many runs somebody means to look at; -1 while the database is away."""
    try:
        return int(database.read(lambda session: session.execute(_BUSY).fetchone())[0])
    except RuntimeFault:
        return -1


def _environment(settings: Settings, oracle: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("ABSTRACTRUNTIME_")}
    env.update({f"ABSTRACTRUNTIME_{name.upper()}": f"{value:g}" for name, value in TIMING.items()})
    env.update(
        ABSTRACTRUNTIME_APP=APP,
        DATABASE_URL=settings.database_url,
        REDIS_URL=settings.redis_url,
        PYTHONUNBUFFERED="1",
    )
    env[ORACLE_URL] = oracle
    return env


@contextmanager
def _oracle(folder: Path) -> Iterator[str]:
    """The oracle as a process of its own; its URL."""
    said: Queue[str] = Queue()
    command = Command("abstractruntime.cli.chaos.oracle")
    child = ChildProcess(command, cwd=folder, env=dict(os.environ), on_line=said.put)
    try:
        try:
            url = said.get(timeout=_ORACLE_TIMEOUT_S)
        except Empty:
            raise EmbeddedFleetError("The oracle does not start") from None
        if not url.startswith("http://"):
            raise EmbeddedFleetError(f"The oracle says: {url}")
        yield url
    finally:
        child.kill_all()
        child.wait(5.0)
        child.close()


def _calls(url: str) -> list[Call]:
    with urllib.request.urlopen(url + "/calls", timeout=30) as answer:
        calls: list[Call] = json.load(answer)["calls"]
    return calls


def _save(folder: Path, evidence: Evidence, violations: list[Violation]) -> None:
    """For each run of a violation: what was planned, what is stored, its ledger and its calls."""
    folder.mkdir(exist_ok=True)
    for run_id in sorted({violation.run_id for violation in violations} - {""}):
        run, planned = evidence.runs.get(run_id), evidence.planned.get(run_id)
        told = {
            "violations": [f"{each.check}: {each.text}" for each in violations if each.run_id == run_id],
            "planned": repr(planned),
            "run": None if run is None else {name: getattr(run, name) for name in run.__slots__},
            "calls": [call for call in evidence.calls if call[1] == run_id],
        }
        (folder / f"{run_id}.json").write_text(json.dumps(told, indent=1, default=str), encoding="utf-8")
