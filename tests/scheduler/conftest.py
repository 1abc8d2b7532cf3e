"""Every scheduler test runs in memory, on files and on a SQLite file, with a clock of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    Runtime,
    Scheduler,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.environment import Environment
from abstractruntime.core.models import RunState
from abstractruntime.core.times import to_iso


class Clock:
    """A time that moves when it is told to."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 2, 3, 4, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.time

    def skip(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Bench:
    """A runtime with registry and schedulers over a pair of stores."""

    def __init__(self, run_store: Any, ledger_store: Any, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.registry = WorkflowRegistry()
        self.runtime = Runtime(
            run_store=run_store,
            ledger_store=ledger_store,
            workflow_registry=self.registry,
            environment=Environment(now=self.clock),
        )
        self._schedulers: list[Scheduler] = []

    def scheduler(self, **settings: Any) -> Scheduler:
        made = Scheduler(runtime=self.runtime, registry=self.registry, **settings)
        self._schedulers.append(made)
        return made

    def inside(self, seconds: float) -> str:
        """So many seconds from now, as text."""
        return to_iso(self.clock() + timedelta(seconds=seconds))

    def go(self, workflow: WorkflowSpec, *, max_steps: int = 100, **start: Any) -> RunState:
        if workflow.workflow_id not in self.registry:
            self.registry.register(workflow)
        self.clock.skip(0.001)  # so that no two runs have one time
        run_id = self.runtime.start(workflow=workflow, **start)
        return self.runtime.tick(workflow=workflow, run_id=run_id, max_steps=max_steps)

    def close(self) -> None:
        for scheduler in self._schedulers:
            scheduler.stop()


@pytest.fixture(params=["memory", "sqlite", "files"])
def open_stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], tuple[Any, Any]]]:
    """Opens the same runs again: what a second host on the same data does."""
    if request.param == "memory":
        stores = InMemoryRunStore(), InMemoryLedgerStore()
        yield lambda: stores
        return
    if request.param == "files":
        yield lambda: (JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
        return
    opened: list[SqliteDatabase] = []

    def open_again() -> tuple[Any, Any]:
        opened.append(SqliteDatabase(tmp_path / "runs.sqlite3"))
        return SqliteRunStore(opened[-1]), SqliteLedgerStore(opened[-1])

    yield open_again
    for database in opened:
        database.close()


@pytest.fixture
def bench(open_stores: Callable[[], tuple[Any, Any]]) -> Iterator[Bench]:
    made = Bench(*open_stores())
    yield made
    made.close()
