"""Limits on real databases, with many workers at once; and what their statements cost."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from sqlalchemy import text

from abstractruntime import App, Effect, EffectType, Limit, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.checkpoints import RunFilter, Task
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.statements import claim_due_statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from workers.client import Client
from workers.hints import Hint
from workers.settings import Settings

SLOTS = 3
WORKERS = 8
RUNS = 40


class Floor:
    """Counts the calls under way."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done = 0

    def call(self, run: RunState, effect: Effect) -> EffectOutcome:
        key = effect.payload["provider"]
        with self.lock:
            self.now[key] += 1
            self.most[key] = max(self.most[key], self.now[key])
        time.sleep(0.002)  # so that calls overlap; nothing waits for it
        with self.lock:
            self.now[key] -= 1
            self.done += 1
        return EffectOutcome.completed({})


def _app(floor: Floor) -> App:
    def ask(run: RunState, ctx: object) -> StepPlan:
        return StepPlan("ask", Effect(EffectType.LLM_CALL, {"provider": run.vars["provider"]}), "done")

    def done(run: RunState, ctx: object) -> StepPlan:
        return StepPlan("done", complete_output={})

    app = App(workflows=[WorkflowSpec("ask", "ask", {"ask": ask, "done": done})])
    limit = Limit("provider", key=lambda run, effect: effect.payload["provider"], concurrency=SLOTS)
    app.effect(EffectType.LLM_CALL, limits=[limit])(floor.call)
    app.limit_starts("ask", concurrency=10)
    return app


def test_many_workers_share_few_slots(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    floor = Floor()
    app = _app(floor)
    pump = Pump(fleet_settings, app, fleet_store)
    with Client(app, settings=fleet_settings, store=fleet_store, dispatcher=pump) as client:
        for n in range(RUNS):
            client.start("ask", {"provider": f"p{n % 2}"}, priority=n % 3)
        deadline = time.monotonic() + 60.0

        def work() -> None:
            while time.monotonic() < deadline:
                with pump._lock:
                    hint = pump._queue.popleft() if pump._queue else None
                if hint is not None:
                    _carry_out(pump, hint)
                elif client.counts().get("completed", 0) == RUNS:
                    return
                else:
                    time.sleep(0.005)  # the queue is polled

        workers = [threading.Thread(target=work) for _ in range(WORKERS)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        # Every slot was handed over: no time-out of anything had to pass.
        assert client.counts() == {"completed": RUNS}
    assert floor.most["p0"] <= SLOTS
    assert floor.most["p1"] <= SLOTS
    assert floor.done == RUNS
    with fleet_store.unit() as unit:
        for run in fleet_store.find_runs(RunFilter(status=RunStatus.COMPLETED), limit=RUNS):
            assert unit.slots.held_by(run.run_id) == []


def _carry_out(pump: Pump, hint: Hint) -> None:
    engine = pump.deployment.engine
    act = engine.tick if hint.task is Task.TICK else engine.effect
    act(hint.run_id, hint.version)


@pytest.mark.parametrize("one_task", [False, True])
def test_what_is_due_is_found_through_the_indexes(fleet_store: SqlCheckpointStore, one_task: bool) -> None:
    """However many runs there are, in whatever priorities."""
    database: Database = fleet_store.database
    is_sqlite = database.dialect.name == "sqlite"
    numbers = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)"
        if is_sqlite
        else "WITH n AS (SELECT generate_series(1, 20000) AS i)"
    )
    params = {"limit": 10, "ageing": 60.0, "task": "tick", "grace": 10.0, "lowest": -9, "highest": 9}
    sql = claim_due_statement(one_task)
    with database.engine.begin() as connection:
        connection.execute(
            text(
                f"{numbers} INSERT INTO runs (run_id, workflow_id, status, run_json, wake_at, priority) "
                "SELECT 'r' || i, 'w', 'running', '{}', i + CASE WHEN i % 9 = 0 THEN 0 ELSE 9e9 END, "
                "CASE WHEN i % 90 = 0 THEN i % 4 - 2 ELSE 0 END FROM n"
            )
        )
        connection.exec_driver_sql("ANALYZE runs")
        explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
        statement = sql.sqlite if is_sqlite else sql.postgresql
        plan = str(connection.exec_driver_sql(explain + statement, params).fetchall())
    assert "idx_runs_wake" in plan
    assert "idx_runs_urgency" in plan
    assert "SCAN runs" not in plan.replace("SCAN runs USING INDEX", "")
    assert "Seq Scan on runs" not in plan
