"""A scheduler in a process of its own: says it is ready, polls when told to, writes down what it drove."""

from __future__ import annotations

import sys
from pathlib import Path

from abstractruntime import (
    Runtime,
    Scheduler,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
    WorkflowRegistry,
)
from tests.scheduler.flows import timer


def main(path: str, journal: str) -> None:
    database = SqliteDatabase(path)
    registry = WorkflowRegistry()

    def work(run: object) -> str:
        with Path(journal).open("a", encoding="utf-8") as file:
            file.write(f"{run.run_id}\n")  # type: ignore[attr-defined]
        return "ok"

    registry.register(timer("2026-01-01T00:00:00Z", work))
    runtime = Runtime(run_store=SqliteRunStore(database), ledger_store=SqliteLedgerStore(database))
    scheduler = Scheduler(runtime=runtime, registry=registry)
    print("ready", flush=True)
    sys.stdin.readline()
    print(scheduler.poll_once(), flush=True)
    database.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
