"""A snapshot that is noted while a step is under way outlives the step (`spec/01 §16.2`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    Effect,
    EffectType,
    InMemoryArtifactStore,
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    RunState,
    RunStatus,
    Runtime,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
    StepPlan,
    WorkflowSpec,
    persist_workflow_snapshot,
)
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.step_stamp import marks_of_others


@pytest.fixture(params=["memory", "files", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    if request.param == "memory":
        yield InMemoryRunStore(), InMemoryLedgerStore()
    elif request.param == "files":
        yield JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    else:
        database = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield SqliteRunStore(database), SqliteLedgerStore(database)
        database.close()


End = Callable[[RunState], StepPlan]

ENDS: dict[str, End] = {
    "goes on": lambda run: StepPlan(run.current_node, next_node="last"),
    "completes": lambda run: StepPlan(run.current_node, complete_output={"ok": True}),
    "calls": lambda run: StepPlan(run.current_node, Effect(EffectType.TOOL_CALLS, {}, "out"), "last"),
    "waits": lambda run: StepPlan(
        run.current_node, Effect(EffectType.WAIT_EVENT, {"name": "go"}, "out"), "last"
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_it_is_still_there_after_the_step(stores: tuple[Any, Any], end: str) -> None:
    artifacts = InMemoryArtifactStore()
    noted: list[dict[str, Any]] = []

    def note(run: RunState) -> None:
        """What another thread of the host may do at any time."""
        noted.append(
            persist_workflow_snapshot(
                run_store=stores[0],
                artifact_store=artifacts,
                run_id=run.run_id,
                workflow_id="w",
                snapshot={"nodes": []},
                format="visualflow",
            )
        )

    def first(run: RunState, context: Any) -> StepPlan:
        run.vars["mine"] = 1
        if end != "calls":
            note(run)
        return ENDS[end](run)

    def call(run: RunState, effect: Effect, default_next: str | None) -> EffectOutcome:
        note(run)
        return EffectOutcome.completed({"results": []})

    def last(run: RunState, context: Any) -> StepPlan:
        return StepPlan(run.current_node, complete_output={"ok": True})

    spec = WorkflowSpec(workflow_id="w", entry_node="first", nodes={"first": first, "last": last})
    runtime = Runtime(
        run_store=stores[0], ledger_store=stores[1], effect_handlers={EffectType.TOOL_CALLS: call}
    )
    run_id = runtime.start(workflow=spec)
    state = runtime.tick(workflow=spec, run_id=run_id)
    assert state.status is (RunStatus.WAITING if end == "waits" else RunStatus.COMPLETED)
    stored = stores[0].load(run_id)
    assert stored.vars["_runtime"]["workflow_snapshot"] == noted[0]
    assert stored.vars["mine"] == 1
    assert len(noted) == 1, "the step was not taken twice"


def test_what_a_step_takes_over() -> None:
    runtime = {"control": {"paused": True}, "workflow_snapshot": {"artifact_id": "a"}, "memory_spans": []}
    assert marks_of_others(runtime) == {
        "control": {"paused": True},
        "workflow_snapshot": {"artifact_id": "a"},
    }
    assert marks_of_others({}) == {}
