"""What one effect step costs in process, over each store, as a run grows to 10 000 steps.

One run of a loop whose node asks for one effect, each time with another payload, so that nothing is reused. A
host handler carries it out and returns a small result. A step is what a user of `Runtime` pays for: node,
STARTED record, handler, outcome record, checkpoint.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage import (
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
)
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer

from .statistics import median

MARKS = (100, 1_000, 10_000)
YOUNG = MARKS[:-1]
YOUNG_S = 5.0
WINDOW = 100
"""Steps that are timed together: those of one ``tick`` as it comes, whose ``max_steps`` is 100 by default."""
SHORT = 10
"""Steps of a turn where two runs are compared: so few that the machine is the same for both."""
LAST_WINDOWS = 9
PAIRS = 41
RUNS_WAITING = 100_000

Stores = tuple[Any, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """Medians of one store.

    Attributes:
        step_us: microseconds of one effect step around each mark, in a ``tick`` with its default of 100
            steps. But for the last mark a median of as many runs as begin within five seconds: the steps
            beside a mark are over in a few milliseconds, and the machine's mood lasts for seconds.
        ratio: a step past the last mark to one of another run at the first, taken in turns: what else the
            machine does between two marks is not the run's.
        checkpoint_bytes: the stored run's JSON at the first and the last mark.
    """

    step_us: dict[int, float]
    ratio: float
    checkpoint_bytes: tuple[int, int]


def _loop(run: RunState, ctx: object) -> StepPlan:
    number = run.vars["n"] = run.vars["n"] + 1
    effect = Effect(EffectType.LLM_CALL, {"prompt": f"question {number}"}, result_key="answer")
    return StepPlan(node_id="loop", effect=effect, next_node="loop")


def _answer(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"content": effect.payload["prompt"]})


WORKFLOW = WorkflowSpec(workflow_id="loop", entry_node="loop", nodes={"loop": _loop})


@contextmanager
def _memory(postgres: PostgresServer) -> Iterator[Stores]:
    yield InMemoryRunStore(), InMemoryLedgerStore()


@contextmanager
def _json(postgres: PostgresServer) -> Iterator[Stores]:
    with tempfile.TemporaryDirectory() as folder:
        yield JsonFileRunStore(folder), JsonlLedgerStore(folder)


@contextmanager
def _sqlite(postgres: PostgresServer) -> Iterator[Stores]:
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "runs.db")
        yield SqliteRunStore(database), SqliteLedgerStore(database)
        database.close()


@contextmanager
def _postgres(postgres: PostgresServer) -> Iterator[Stores]:
    database = open_database(create_database(postgres.url, f"loop_{time.time_ns()}"))
    upgrade(database)
    yield SqlRunStore(database), SqlLedgerStore(database)
    database.close()


STORES: dict[str, Callable[[PostgresServer], Any]] = {
    "in memory": _memory,
    "JSON files": _json,
    "SQLite": _sqlite,
    "PostgreSQL": _postgres,
}


def cost_of_steps(store: str, postgres: PostgresServer) -> Cost:
    """Drive one run past the last mark; medians of the steps around each mark."""
    with STORES[store](postgres) as (runs, ledger):
        runtime = Runtime(run_store=runs, ledger_store=ledger, effect_handlers={EffectType.LLM_CALL: _answer})
        run_id = runtime.start(workflow=WORKFLOW, vars={"n": 0})
        runtime.tick(workflow=WORKFLOW, run_id=run_id, max_steps=MARKS[0])
        young = _bytes(runs.load(run_id))
        runtime.tick(workflow=WORKFLOW, run_id=run_id, max_steps=MARKS[-1] - MARKS[0] - WINDOW // 2)
        last = median([_step_us(runtime, run_id, WINDOW) for _ in range(LAST_WINDOWS)])
        old = _bytes(runs.load(run_id))
        ratio = median([_in_turns(runtime, run_id) for _ in range(PAIRS)])
        return Cost({**_young_steps(runtime), MARKS[-1]: last}, ratio, (young, old))


def _young_steps(runtime: Runtime) -> dict[int, float]:
    """Microseconds of a step around the marks that a run soon reaches: medians over the runs."""
    began, costs = time.perf_counter(), []
    while not costs or time.perf_counter() - began < YOUNG_S:
        run_id, done, cost = runtime.start(workflow=WORKFLOW, vars={"n": 0}), 0, {}
        for mark in YOUNG:
            runtime.tick(workflow=WORKFLOW, run_id=run_id, max_steps=mark - WINDOW // 2 - done)
            cost[mark] = _step_us(runtime, run_id, WINDOW)
            done = mark + WINDOW // 2
        costs.append(cost)
    return {mark: median([cost[mark] for cost in costs]) for mark in YOUNG}


def _bytes(run: RunState) -> int:
    return len(json.dumps(run.to_dict()))


def _step_us(runtime: Runtime, run_id: str, steps: int) -> float:
    """Microseconds of each of the next steps, with their share of the ``tick`` that takes them."""
    started = time.perf_counter()
    runtime.tick(workflow=WORKFLOW, run_id=run_id, max_steps=steps)
    return (time.perf_counter() - started) * 1e6 / steps


def _in_turns(runtime: Runtime, old: str) -> float:
    """A step of the old run to one of a young run."""
    young = runtime.start(workflow=WORKFLOW, vars={"n": 0})
    runtime.tick(workflow=WORKFLOW, run_id=young, max_steps=MARKS[0] - SHORT // 2)
    first = _step_us(runtime, young, SHORT)
    return _step_us(runtime, old, SHORT) / first


def bare_commit_us() -> float:
    """The floor under the SQLite figure: one commit of a checkpoint and two records, nothing around it."""
    with tempfile.TemporaryDirectory() as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE runs (run_id TEXT PRIMARY KEY, state TEXT)")
        connection.execute(
            "CREATE TABLE ledger (run_id TEXT, seq INTEGER, record TEXT, PRIMARY KEY (run_id, seq))"
        )
        text, took = "x" * 500, []
        for seq in range(2_000):
            started = time.perf_counter()
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("INSERT INTO ledger VALUES ('r', ?, ?)", (2 * seq, text))
            connection.execute("INSERT INTO ledger VALUES ('r', ?, ?)", (2 * seq + 1, text))
            connection.execute("INSERT OR REPLACE INTO runs VALUES ('r', ?)", (text,))
            connection.execute("COMMIT")
            took.append((time.perf_counter() - started) * 1e6)
        connection.close()
        return median(took)


def due_query_ms() -> float:
    """``list_due_wait_until`` on SQLite over 100 000 runs that wait for a time, none due: median of 200."""
    with tempfile.TemporaryDirectory() as folder:
        database = SqliteDatabase(Path(folder) / "runs.db")
        store = SqliteRunStore(database)
        with store.atomic():
            for number in range(RUNS_WAITING):
                store.save(_waiting_run(number))
        took = []
        for _ in range(200):
            started = time.perf_counter()
            due = store.list_due_wait_until(now_iso="2026-01-01T00:00:00.000000+00:00")
            took.append((time.perf_counter() - started) * 1e3)
            if due:
                raise RuntimeError(f"{len(due)} runs are due, none should be")
        database.close()
        return median(took)


def _waiting_run(number: int) -> RunState:
    return RunState(
        run_id=f"run-{number:06}",
        workflow_id="timers",
        status=RunStatus.WAITING,
        current_node="wait",
        vars={"n": number},
        waiting=WaitState(
            reason=WaitReason.UNTIL,
            until=f"2030-01-01T{number % 24:02}:00:00.000000+00:00",
            resume_to_node="end",
        ),
    )
