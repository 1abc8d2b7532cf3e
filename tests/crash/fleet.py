"""Real Celery worker processes over real servers, started and ended by pid."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from workers.client import Client
from workers.settings import load_settings

from .flows import ORACLE
from .nursery import Born, Nursery

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
        self, name: str, *, queues: str = "all", pool: str = "solo", faults: str = "", concurrency: int = 1
    ) -> Born:
        """Start a Celery worker; ``queues``: ticks, effects or all."""
        chosen = {
            "ticks": self.settings.tick_queue,
            "effects": self.settings.effect_queue,
            "all": f"{self.settings.tick_queue},{self.settings.effect_queue}",
        }[queues]
        command = ["worker", "-P", pool, "-c", str(concurrency), "-Q", chosen, "-n", f"{name}@test"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "-l", "info"]
        return self._celery(name, command, faults)

    def beat(self, name: str = "beat") -> Born:
        """Start a beat."""
        return self._celery(name, ["beat", "-s", str(self.folder / f"{name}.schedule"), "-l", "info"], "")

    def resumer(self, name: str = "resumer") -> Born:
        """Start a resumer."""
        return self.start(name, "workers.resumer")

    def _celery(self, name: str, arguments: list[str], faults: str) -> Born:
        return self.start(name, "celery", ["-A", "workers", *arguments], faults)

    def start(
        self, name: str, module: str, arguments: Sequence[str] = (), faults: str = "", **variables: str
    ) -> Born:
        """Start ``python -m module arguments`` as a process of this fleet."""
        env = self.environment(faults, **variables)
        process = Nursery.shared().bear(module, arguments, env, self.folder / f"{name}.log")
        self.processes[name] = process
        return process

    def kill(self, name: str) -> None:
        """Kill -9."""
        process = self.processes[name]
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    def stop(self) -> None:
        """End every process this fleet has started."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
        for process in self.processes.values():
            process.wait(10)
        self.client.close()

    def logs(self) -> str:
        """All processes' output, for a failing test's message."""
        texts = [f"--- {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.folder.glob("*.log"))]
        return "\n".join(texts)

    def calls(self) -> dict[str, int]:
        """Outside calls by idempotency key."""
        return {path.name: len(path.read_text().splitlines()) for path in self.oracle.iterdir()}

    def assert_ledger_is_whole(self, run_id: str) -> None:
        """No gap, no step there twice, one terminal status event at the end."""
        entries = self.client.ledger(run_id)
        assert [entry.seq for entry in entries] == list(range(1, len(entries) + 1))
        steps = Counter(
            (entry.record["step_id"], str(entry.record["status"]))
            for entry in entries
            if entry.record["idempotency_key"]
        )
        assert [step for step, times in steps.items() if times > 1] == []
        ended = Counter(
            entry.record["idempotency_key"]
            for entry in entries
            if entry.record["status"] == "completed" and entry.record["idempotency_key"]
        )
        assert [key for key, times in ended.items() if times > 1] == []
        last = entries[-1].record
        assert str(last["idempotency_key"]).startswith("system:terminal_status:"), last
