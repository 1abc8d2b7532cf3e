"""Handlers, workers and clients share artifacts: in the fleet's database, or where the App says."""

from __future__ import annotations

from pathlib import Path

import pytest

from abstractruntime.app import App
from abstractruntime.core.effect_context import EffectContext, current_effect
from abstractruntime.core.errors import AppError
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.artifacts import FileArtifactStore, artifact_ref
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from workers.client import Client
from workers.settings import Settings


def _write(run: RunState, effect: Effect) -> EffectOutcome:
    metadata = current_effect().artifacts.store_text("a long report", run_id=run.run_id)
    return EffectOutcome.completed({"report": artifact_ref(metadata.artifact_id)})


def _read(run: RunState, effect: Effect) -> EffectOutcome:
    ref = effect.payload["prompt"]
    return EffectOutcome.completed(
        {"words": len(current_effect().artifacts.load_text(ref["$artifact"]).split())}
    )


def _ask_tools(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("write", Effect(EffectType.TOOL_CALLS, {"tool_calls": []}, "written"), "read")


def _ask_llm(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan(
        "read", Effect(EffectType.LLM_CALL, {"prompt": run.vars["written"]["report"]}, "read"), "end"
    )


def _end(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={**run.vars["written"], **run.vars["read"]})


def make_app(**fields: object) -> App:
    nodes = {"write": _ask_tools, "read": _ask_llm, "end": _end}
    app = App(workflows=[WorkflowSpec("report", "write", nodes)], **fields)  # type: ignore[arg-type]
    app.effect(EffectType.TOOL_CALLS)(_write)
    app.effect(EffectType.LLM_CALL)(_read)
    return app


def run_once(app: App, settings: Settings, store: SqlCheckpointStore) -> Client:
    pump = Pump(settings, app, store)
    client = Client(app, settings=settings, store=store, dispatcher=pump)
    run_id = client.start("report", run_id="r1")
    pump.run()
    output = client.get(run_id).output
    assert output is not None
    assert output["words"] == 3
    assert client.artifacts.load_text(output["report"]["$artifact"]) == "a long report"
    return client


def test_they_are_in_the_fleets_database(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    client = run_once(make_app(), fleet_settings, fleet_store)
    assert len(SqlArtifactStore(fleet_store.database).list_by_run("r1")) == 1
    assert client.artifacts is client.artifacts
    without_app = Client(settings=fleet_settings, store=fleet_store, dispatcher=client.dispatcher)
    assert len(without_app.artifacts.list_by_run("r1")) == 1
    without_app.close()
    client.close()


def test_they_are_where_the_app_says(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore, tmp_path: Path
) -> None:
    opened: list[FileArtifactStore] = []

    def open_files() -> FileArtifactStore:
        opened.append(FileArtifactStore(tmp_path))
        return opened[-1]

    run_once(make_app(artifacts=open_files), fleet_settings, fleet_store).close()
    assert len(opened) == 2  # one for the worker, one for the client
    assert len(FileArtifactStore(tmp_path).list_by_run("r1")) == 1
    assert SqlArtifactStore(fleet_store.database).list_all() == []


def test_a_store_may_be_declared_as_such(
    tmp_path: Path, fleet_settings: Settings, fleet_store: SqlCheckpointStore
) -> None:
    files = FileArtifactStore(tmp_path)
    client = run_once(make_app(artifacts=files), fleet_settings, fleet_store)
    assert client.artifacts is files
    client.close()


def test_what_is_no_store_is_refused(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    app = make_app(artifacts=lambda: "s3://bucket")
    nobody = Pump(fleet_settings, app, fleet_store)
    client = Client(app, settings=fleet_settings, store=fleet_store, dispatcher=nobody)
    with pytest.raises(AppError, match="ArtifactStore"):
        _ = client.artifacts
    client.close()


def test_a_driver_without_artifacts_says_so() -> None:
    with pytest.raises(RuntimeError, match="artifact store"):
        _ = EffectContext("r1", "key").artifacts
