"""What one step costs as a run grows: load, node, kernel, commit, without the broker's hop."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence

from abstractruntime.storage.checkpoints import Task
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer
from workers.deployment import Deployment
from workers.hints import Message
from workers.settings import load_settings

from .flows import app
from .statistics import median

MARKS = (10, 1000, 5000)
WINDOW = 100


class Nowhere:
    """A dispatcher for a single driver that needs no hints."""

    def send(self, messages: Sequence[Message]) -> None:
        """Nobody listens."""

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return False


def cost_of_steps(database: str, postgres: PostgresServer) -> dict[int, float]:
    """Median microseconds of one step (load to commit) around steps 10, 1 000 and 5 000 of one run."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/runs.db"
        if database == "postgresql":
            url = create_database(postgres.url, f"flat_{time.time_ns()}")
        handle = open_database(url)
        upgrade(handle)
        store = SqlCheckpointStore(handle)
        settings = load_settings(app="benchmarks.flows:app", database_url=url)
        deployment = Deployment.build(settings, app, store, Nowhere())
        try:
            return _measure(deployment)
        finally:
            handle.close()


def _measure(deployment: Deployment) -> dict[int, float]:
    from abstractruntime.core.starting import new_run

    with deployment.commits.batch() as batch:
        run = new_run(
            deployment.app.get("chain"),  # type: ignore[arg-type]  # declared in flows.py
            config=deployment.app.config,
            env=batch.env,
            vars={"steps": 10**6},
        )
        deployment.commits.insert_run(batch, run, depth=0)
    took: list[float] = []
    for version in range(1, MARKS[-1] + WINDOW):
        started = time.perf_counter()
        deployment.engine.tick(run.run_id, version)
        took.append((time.perf_counter() - started) * 1e6)
    return {mark: median(took[max(0, mark - WINDOW // 2) : mark + WINDOW // 2]) for mark in MARKS}
