"""Real Celery worker processes over real servers, started and ended by pid."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from redis import Redis
from sqlalchemy import NullPool, create_engine, text

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from tests.ledger_invariants import calls, run_is_whole
from tests.poll import eventually
from workers.client import Client
from workers.settings import load_settings

from .flows import ORACLE
from .nursery import Born, Nursery
from .wrong_clock import WRONG_BY

ROOT = Path(__file__).resolve().parent.parent.parent
APP = "tests.crash.flows:app"
# Short durations, so that recovery by lease and sweep is seen in seconds.
DURATIONS = {"lease": 2.0, "redelivery_grace": 1.0, "sweep_interval": 0.3, "timer_horizon": 5.0}


@dataclass
class CrashFleet:
    """A fleet under test.

    Attributes:
        client: what the test acts through.
        folder: logs, oracle, fault marks.
        processes: by name; dead ones stay listed until `stop`.
    """

    database_url: str
    redis_url: str
    folder: Path
    processes: dict[str, Born] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.oracle = self.folder / "oracle"
        self.oracle.mkdir(parents=True)
        database = open_database(self.database_url)
        upgrade(database)
        database.close()
        self.settings = load_settings(
            app=APP, database_url=self.database_url, redis_url=self.redis_url, **DURATIONS
        )
        self.client = Client(APP, settings=self.settings)

    def environment(self, faults: str = "", **variables: str) -> dict[str, str]:
        """What a process of this fleet sees."""
        durations = {f"ABSTRACTRUNTIME_{name.upper()}": str(value) for name, value in DURATIONS.items()}
        return {
            **os.environ,
            **durations,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis_url,
            "ABSTRACTRUNTIME_APP": APP,
            "ABSTRACTRUNTIME_FAULTS": faults,
            "PYTHONPATH": str(ROOT),
            "PYTHONWARNINGS": "ignore",
            "FLOWER_UNAUTHENTICATED_API": "true",
            ORACLE: str(self.oracle),
            **variables,
        }

    def worker(
        self,
        name: str,
        *,
        queues: str = "all",
        pool: str = "solo",
        faults: str = "",
        concurrency: int = 1,
        clock_s: float = 0.0,
        **variables: str,
    ) -> Born:
        """Start a Celery worker.

        Args:
            queues: ticks, effects or all.
            faults: for ``ABSTRACTRUNTIME_FAULTS``.
            clock_s: how many seconds its clock is fast.
            variables: further environment variables.
        """
        chosen = {
            "ticks": self.settings.tick_queue,
            "effects": self.settings.effect_queue,
            "all": f"{self.settings.tick_queue},{self.settings.effect_queue}",
        }[queues]
        command = ["worker", "-P", pool, "-c", str(concurrency), "-Q", chosen, "-n", f"{name}@test"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "info"]
        return self._celery(name, command, faults, clock_s, **variables)

    def beat(self, name: str = "beat", *, clock_s: float = 0.0, **variables: str) -> Born:
        """Start a beat, as `worker` does."""
        command = ["beat", "-s", str(self.folder / f"{name}.schedule"), "-l", "info"]
        if clock_s:  # the usual scheduler pickles times, whose class is not what it was
            command += ["-S", "celery.beat:Scheduler"]
        return self._celery(name, command, "", clock_s, **variables)

    def resumer(self, name: str = "resumer", **variables: str) -> Born:
        """Start a resumer."""
        return self.start(name, "workers.resumer", **variables)

    def _celery(self, name: str, arguments: list[str], faults: str, clock_s: float, **variables: str) -> Born:
        if clock_s:
            variables = {**variables, WRONG_BY: str(clock_s)}
        program = "tests.crash.wrong_clock" if clock_s else "celery"
        return self.start(name, program, ["-A", "workers", *arguments], faults, **variables)

    def start(
        self, name: str, module: str, arguments: Sequence[str] = (), faults: str = "", **variables: str
    ) -> Born:
        """Start ``python -m module arguments`` as a process of this fleet."""
        env = self.environment(faults, **variables)
        log, fresh = self.folder / f"{name}.log", module.startswith("tests.")
        log.touch(mode=0o600)  # here, not when the process gets to it: tests read it at once
        process = Nursery.shared().bear(module, arguments, env, log, fresh=fresh)
        self.processes[name] = process
        return process

    def dies(self, process: Born) -> None:
        """Wait until a process has killed itself."""
        eventually(lambda: process.poll() is not None, timeout=60, message="it was not killed")
        assert process.returncode == -signal.SIGKILL

    def stops(self, process: Born) -> None:
        """Wait until a process has stopped itself at a fault point."""
        eventually(lambda: process.poll() is None and process.is_stopped(), timeout=60, message="not stopped")

    def resume(self, process: Born) -> None:
        """SIGCONT."""
        process.send_signal(signal.SIGCONT)

    def status(self, run_id: str) -> str:
        """A run's status."""
        return self.client.get(run_id).status.value

    def waits(self, run_id: str) -> None:
        """Wait until a run waits."""
        eventually(lambda: self.status(run_id) == "waiting", timeout=60, message=f"{run_id} does not wait")

    def lose_messages(self) -> None:
        """Empty the broker: only the sweep can find what is runnable."""
        with Redis.from_url(self.redis_url) as redis:
            redis.flushdb()

    def occurrences(self) -> list[int]:
        """Nominal times (epoch seconds) of the scheduled runs there are, ascending; each is there once."""
        runs = (self.client.get(run.run_id).vars for run in self.client.list(limit=10_000))
        nominal = [vars["_meta"]["schedule"]["nominal_time"] for vars in runs if "_meta" in vars]
        times = [datetime.fromisoformat(time) for time in nominal]
        return sorted(int(time.timestamp()) for time in times)

    def sql(self, statement: str, **values: object) -> list[tuple[object, ...]]:
        """Run a statement on the database, on a connection of its own."""
        options = (
            {"options": "-c default_transaction_read_only=off"} if "postgres" in self.database_url else {}
        )
        with create_engine(
            self.database_url, poolclass=NullPool, connect_args=options
        ).connect() as connection:
            result = connection.execution_options(isolation_level="AUTOCOMMIT").execute(
                text(statement), values
            )
            return [tuple(row) for row in result] if result.returns_rows else []

    def cut_connections(self, state: str = "%") -> int:
        """End the PostgreSQL sessions in this state (`pg_stat_activity`), the client's too; how many."""
        found = self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND pid <> pg_backend_pid() AND state LIKE :state",
            state=state,
        )
        return len(found)

    def kill(self, name: str) -> None:
        """Kill -9."""
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def halt(self) -> None:
        """Kill every process that this fleet has started."""
        for process in self.processes.values():
            process.kill()
        for process in self.processes.values():
            process.wait(10)

    def stop(self) -> None:
        """End the fleet."""
        self.halt()
        self.client.close()

    def logs(self) -> str:
        """All processes' output, for a failing test's message."""
        texts = [f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(texts)

    def log(self, name: str) -> str:
        """One process's output."""
        return (self.folder / f"{name}.log").read_text()

    def calls(self) -> dict[str, int]:
        """Outside calls by idempotency key."""
        return {path.name: len(path.read_text().splitlines()) for path in self.oracle.iterdir()}

    def assert_whole(self) -> None:
        """Every run there is keeps every invariant, and the outside's book agrees with the ledgers."""
        ledgers, broken = [], []
        for run in self.client.list(limit=10_000):
            entries = self.client.ledger(run.run_id)
            ledgers.append(entries)
            found = run_is_whole(self.client.checkpoint(run.run_id), entries)
            broken += [f"run {run.run_id} of {run.workflow_id}: {text}" for text in found]
        broken += calls(ledgers, self.calls())
        assert broken == []

    def finished(self, run_id: str, timeout: float = 60.0) -> RunState:
        """The run once it has COMPLETED, with whatever it started."""
        run = self.client.wait(run_id, timeout=timeout)
        assert run.status is RunStatus.COMPLETED, f"{run.status.value}: {run.error}"
        return run
