"""Node traces over stores that keep large values elsewhere (`spec/01 §11.1`, §19.2)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan, WaitState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.artifacts import InMemoryArtifactStore, artifact_ref
from abstractruntime.storage.base import LedgerStore, RunStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.offloading import OffloadingLedgerStore, OffloadingRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

LIMIT = 100
PROMPT, ANSWER = "p" * 200, "a" * 200
LLM = EffectType.LLM_CALL


@pytest.fixture
def artifacts() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


@pytest.fixture(params=["memory", "files", "sqlite"])
def plain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[RunStore, LedgerStore]]:
    if request.param == "memory":
        yield InMemoryRunStore(), InMemoryLedgerStore()
    elif request.param == "files":
        yield JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    else:
        database = SqliteDatabase(tmp_path / "runs.db")
        yield SqliteRunStore(database), SqliteLedgerStore(database)
        database.close()


@pytest.fixture
def runtime(plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore) -> Runtime:
    return over(plain, artifacts)


def over(plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore, **options: Any) -> Runtime:
    runs, ledger = plain
    chained = HashChainedLedgerStore(ledger)
    offloading = OffloadingLedgerStore(chained, artifact_store=artifacts, max_inline_bytes=LIMIT)
    options.setdefault("effect_handlers", {LLM: answers})
    return Runtime(
        run_store=OffloadingRunStore(runs, artifact_store=artifacts, max_inline_bytes=LIMIT),
        ledger_store=ObservableLedgerStore(offloading),
        artifact_store=artifacts,
        **options,
    )


def answers(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"content": ANSWER, "deep": {"list": [ANSWER] * 3}})


def asks(payload: dict[str, Any]) -> WorkflowSpec:
    """Asks twice for the same, so that the second answer is the first one again."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        visits = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return StepPlan("ask", Effect(LLM, payload, "answer"), "ask" if visits == 1 else "end")

    def end(run: RunState, context: RunContext) -> StepPlan:
        return StepPlan("end", complete_output={"seen": json.dumps(run.vars["_runtime"]["node_traces"])})

    return WorkflowSpec("asks", "ask", {"ask": node, "end": end})


def shown(entry: dict[str, Any]) -> Any:
    return entry["effect"]["payload"], entry["result"]


EXPECTED = ({"prompt": PROMPT}, {"content": ANSWER, "deep": {"list": [ANSWER] * 3}})


@pytest.mark.weakness("spec/01 §19.2")
def test_traces_are_whole_while_the_run_runs_and_after_it_ended(runtime: Runtime) -> None:
    workflow = asks({"prompt": PROMPT})
    run_id = runtime.start(workflow=workflow)
    for status in (RunStatus.RUNNING, RunStatus.COMPLETED):
        budget = 2 if status is RunStatus.RUNNING else 1
        ticked = runtime.tick(workflow=workflow, run_id=run_id, max_steps=budget)
        assert ticked.status is status
        for run in (ticked, runtime.get_state(run_id)):
            entries = run.vars["_runtime"]["node_traces"]["ask"]["steps"]
            assert [shown(entry) for entry in entries] == [EXPECTED, EXPECTED]
            assert [entry["reused_prior_result"] for entry in entries] == [False, True]
            assert runtime.get_node_traces(run_id) == run.vars["_runtime"]["node_traces"]
    assert PROMPT not in str(runtime.get_ledger(run_id))
    output = ticked.output
    assert output is not None
    assert "$artifact" not in output["seen"]  # what the node has seen


def test_waits_are_whole(plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": PROMPT}), "ask")

    workflow = WorkflowSpec("waits", "ask", {"ask": node})
    runtime = over(plain, artifacts)
    run_id = runtime.start(workflow=workflow)
    wait = runtime.tick(workflow=workflow, run_id=run_id).waiting
    assert isinstance(wait, WaitState)
    (entry,) = runtime.get_node_trace(run_id, "ask")["steps"]
    assert (entry["wait"], entry["effect"]["payload"]) == (wait.to_dict(), {"prompt": PROMPT})


def test_traces_of_a_child_are_whole(
    plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore
) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        payload = {"workflow_id": "asks", "include_traces": True}
        return StepPlan("start", Effect(EffectType.START_SUBWORKFLOW, payload, "child"), "end")

    def end(run: RunState, context: RunContext) -> StepPlan:
        return StepPlan("end", complete_output=run.vars["child"]["node_traces"])

    parent = WorkflowSpec("parent", "start", {"start": node, "end": end})
    runtime = over(plain, artifacts, workflow_registry={"asks": asks({"prompt": PROMPT})})
    output = runtime.tick(workflow=parent, run_id=runtime.start(workflow=parent)).output
    assert output is not None
    assert [shown(entry) for entry in output["ask"]["steps"]] == [EXPECTED, EXPECTED]


def test_steps_put_nothing_back_for_traces_that_nobody_reads(
    plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_back = OffloadingLedgerStore.put_back
    parts: list[Any] = []

    def counted(store: OffloadingLedgerStore, value: Any) -> Any:
        parts.append(value)
        return put_back(store, value)

    monkeypatch.setattr(OffloadingLedgerStore, "put_back", counted)
    runtime = over(plain, artifacts)

    def node(run: RunState, context: RunContext) -> StepPlan:
        visits = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return StepPlan("ask", Effect(LLM, {"prompt": f"{visits}{PROMPT}"}), "ask")

    workflow = WorkflowSpec("loop", "ask", {"ask": node})
    run_id = runtime.start(workflow=workflow)
    state = runtime.tick(workflow=workflow, run_id=run_id, max_steps=20)
    runtime.get_state(run_id)
    runtime.get_ledger(run_id)
    assert parts == []
    assert len(state.vars["_runtime"]["node_traces"]["ask"]["steps"]) == 20
    assert len(parts) == 40  # effect and result of each


def test_a_value_that_is_gone_stays_a_reference_and_is_logged(
    runtime: Runtime, artifacts: InMemoryArtifactStore, caplog: pytest.LogCaptureFixture
) -> None:
    workflow = asks({"prompt": PROMPT})
    run_id = runtime.start(workflow=workflow)
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=1)
    (prompt,) = artifacts.search(tags={"path": "ledger.effect.payload.prompt"})
    artifacts.delete(prompt.artifact_id)
    with caplog.at_level(logging.WARNING):
        (entry,) = runtime.get_node_trace(run_id, "ask")["steps"]
    assert entry["effect"]["payload"] == {"prompt": artifact_ref(prompt.artifact_id)}
    assert entry["result"] == EXPECTED[1]
    assert f"artifact '{prompt.artifact_id}', to which a recorded result refers, is gone" in caplog.text


def test_references_of_the_node_s_own_stay(runtime: Runtime, artifacts: InMemoryArtifactStore) -> None:
    mine = artifact_ref(artifacts.store_text("picture").artifact_id)
    workflow = asks({"prompt": PROMPT, "picture": mine})
    run_id = runtime.start(workflow=workflow)
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=1)
    (entry,) = runtime.get_node_trace(run_id, "ask")["steps"]
    assert entry["effect"]["payload"] == {"prompt": PROMPT, "picture": mine}


def test_through_a_redactor(plain: tuple[RunStore, LedgerStore], artifacts: InMemoryArtifactStore) -> None:
    runtime = over(plain, artifacts, hooks=Hooks(redactor=redact_secrets(patterns=["secret"])))
    workflow = asks({"prompt": f"secret {PROMPT}"})
    run_id = runtime.start(workflow=workflow)
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=1)
    (entry,) = runtime.get_node_trace(run_id, "ask")["steps"]
    assert shown(entry) == ({"prompt": f"[redacted] {PROMPT}"}, EXPECTED[1])


def test_traces_that_an_older_release_kept_in_the_checkpoint(
    runtime: Runtime, plain: tuple[RunStore, LedgerStore]
) -> None:
    """They are offloaded with the ended run, and shown as before; what is stored stays as it is."""
    old = {"old": {"node_id": "old", "steps": [{"ts": "2020", "result": ANSWER}], "updated_at": "2020"}}
    workflow = asks({"prompt": PROMPT})
    run_id = runtime.start(workflow=workflow, vars={"_runtime": {"node_traces": old}})
    assert runtime.tick(workflow=workflow, run_id=run_id).status is RunStatus.COMPLETED
    stored = plain[0].load(run_id)
    assert stored is not None
    assert "$artifact" in str(stored.to_dict()["vars"]["_runtime"]["node_traces"])
    traces = runtime.get_state(run_id).vars["_runtime"]["node_traces"]
    assert traces == runtime.get_node_traces(run_id)
    assert traces["old"] == old["old"]
    assert [shown(entry) for entry in traces["ask"]["steps"]] == [EXPECTED, EXPECTED]
