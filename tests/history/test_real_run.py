"""A bundle of a run that the kernel drove, with the package's own artifact store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, EffectType, InMemoryLedgerStore, InMemoryRunStore, Runtime, StepPlan
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.history_bundle import export_run_history_bundle, persist_workflow_snapshot
from abstractruntime.storage.artifacts import FileArtifactStore, InMemoryArtifactStore


def greet(run: Any, ctx: Any) -> StepPlan:
    return StepPlan("greet", Effect(EffectType.ANSWER_USER, {"message": "Hello"}), "end")


def end(run: Any, ctx: Any) -> StepPlan:
    return StepPlan("end", complete_output={"ok": True})


WORKFLOW = WorkflowSpec("hello", "greet", {"greet": greet, "end": end})


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_bundle_of_a_real_run(kind: str, tmp_path: Path) -> None:
    artifacts: Any = InMemoryArtifactStore() if kind == "memory" else FileArtifactStore(tmp_path)
    runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
    run_id = runtime.start(workflow=WORKFLOW, vars={"prompt": "Hi", "big": "x" * 300_000}, session_id="s")
    snapshot = {"id": "hello", "nodes": ["greet", "end"]}
    reference = persist_workflow_snapshot(
        run_store=runtime.run_store,
        artifact_store=artifacts,
        run_id=run_id,
        workflow_id="hello",
        snapshot=snapshot,
        format="spec",
    )
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    bundle = export_run_history_bundle(
        run_id=run_id,
        run_store=runtime.run_store,
        ledger_store=runtime.ledger_store,
        artifact_store=artifacts,
        include_session=True,
    )
    assert json.loads(json.dumps(bundle)) == bundle
    assert bundle["workflow_snapshot"] == reference
    assert artifacts.load_json(reference["artifact_id"]) == snapshot
    assert artifacts.load_text(bundle["input_data"]["big"]["$artifact"]) == "x" * 300_000
    assert bundle["input_data"]["prompt"] == "Hi"
    assert ("greet", "started", "answer_user") in [
        (entry["node_id"], entry["status"], entry["effect_type"]) for entry in bundle["timeline"]
    ]
    assert bundle["ledgers"][run_id]["total"] == len(runtime.get_ledger(run_id))
    (turn,) = bundle["session"]["turns"]
    assert (turn["prompt"], turn["answer"]) == ("Hi", "Hello")
