"""A scheduler in a process of its own, over the same data. It writes down what it executes.

``python -m tests.scheduler.other_process KIND PATH JOURNAL MODE`` says it is ready and waits for a line. Mode
``once`` polls once and prints the number of runs resumed; ``loop`` polls in the background until a next line.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from abstractruntime import (
    Effect,
    EffectType,
    JsonFileRunStore,
    JsonlLedgerStore,
    RunState,
    Runtime,
    Scheduler,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.outcome import EffectOutcome
from tests.kernel.flows import asks, flow

STEP_S = 0.4
RECOVER_AFTER_S = 0.1
"""Less than a step takes: who goes by the time alone takes every run for abandoned."""

Note = Callable[[str, RunState], None]


def open_stores(kind: str, path: Path) -> tuple[Any, Any]:
    if kind == "files":
        return JsonFileRunStore(path), JsonlLedgerStore(path)
    database = SqliteDatabase(path / "runs.sqlite3")
    return SqliteRunStore(database), SqliteLedgerStore(database)


def slow_flow(note: Note, until: str = "2026-01-01T00:00:00Z") -> WorkflowSpec:
    """Waits for a time; then a slow node, and a node with a slow effect."""

    def slow(run: RunState, context: Any) -> StepPlan:
        note("node", run)
        time.sleep(STEP_S)
        return StepPlan("slow", next_node="call")

    def call(run: RunState, context: Any) -> StepPlan:
        return StepPlan("call", effect=Effect(EffectType.TOOL_CALLS, {"n": 1}), next_node="done")

    def done(run: RunState, context: Any) -> StepPlan:
        note("done", run)
        return StepPlan("done", complete_output={"ok": True})

    wait = asks(EffectType.WAIT_UNTIL, {"until": until}, then="slow")
    return flow("slow", wait=wait, slow=slow, call=call, done=done)


def main(kind: str, path: str, journal: str, mode: str) -> None:
    def note(what: str, run: RunState) -> None:
        line = f"{what} {run.run_id} {os.getpid()}\n".encode()
        fd = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(fd, line)
        os.close(fd)

    def call(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        note("effect", run)
        time.sleep(STEP_S)
        return EffectOutcome.completed({"results": []})

    run_store, ledger_store = open_stores(kind, Path(path))
    registry = WorkflowRegistry()
    registry.register(slow_flow(note))
    runtime = Runtime(
        run_store=run_store, ledger_store=ledger_store, effect_handlers={EffectType.TOOL_CALLS: call}
    )
    scheduler = Scheduler(
        runtime=runtime,
        registry=registry,
        poll_interval_s=0.02,
        max_workers=8,
        recover_running_after_s=RECOVER_AFTER_S,
    )
    print("ready", flush=True)
    sys.stdin.readline()
    if mode == "once":
        print(scheduler.poll_once(), flush=True)
        return
    scheduler.start()
    sys.stdin.readline()
    scheduler.stop(timeout=30)
    print(scheduler.stats.runs_resumed, scheduler.stats.runs_failed, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
