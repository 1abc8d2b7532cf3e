"""A fleet keeps evidence of tool calls as one process does (`spec/03 §15`), on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.app import App
from abstractruntime.core.errors import WaitMismatchError
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepPlan,
    WaitReason,
    WaitState,
)
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.evidence import EvidenceRecorder, evidence_entries
from abstractruntime.storage.artifacts import ArtifactStore, FileArtifactStore, InMemoryArtifactStore
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.bench import Bench
from tests.fleet.pump import Pump
from workers import metrics
from workers.client import Client
from workers.settings import Settings

PAGE = "<p>" + "x" * 2000
CALL = {"name": "fetch_url", "call_id": "c1", "arguments": {"url": "https://example.org"}}


def _results() -> list[dict[str, Any]]:
    output = {"raw_text": PAGE, "rendered": "short"}
    return [{"call_id": "c1", "name": "fetch_url", "success": True, "output": output, "error": None}]


def _fetch(run: RunState, effect: Effect) -> EffectOutcome:
    if run.vars.get("delegates"):
        details = {"mode": "delegated", "tool_calls": effect.payload["tool_calls"]}
        return EffectOutcome.waiting(
            WaitState(WaitReason.JOB, "job", resume_to_node="end", result_key="out", details=details)
        )
    run.vars["fetched"] = run.vars.get("fetched", 0) + 1
    return EffectOutcome.completed({"mode": "executed", "results": _results()})


def _ask(run: RunState, context: RunContext) -> StepPlan:
    visits = run.vars["visits"] = run.vars.get("visits", 0) + 1
    then = "ask" if run.vars.get("again") and visits < 3 else "end"
    return StepPlan("ask", Effect(EffectType.TOOL_CALLS, {"tool_calls": [CALL]}, "out"), then)


def _end(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={"out": run.vars["out"], "fetched": run.vars.get("fetched")})


def make_app(*, quick: bool = False, **fields: Any) -> App:
    app = App(workflows=[WorkflowSpec("fetch", "ask", {"ask": _ask, "end": _end})], **fields)
    app.effect(EffectType.TOOL_CALLS, quick=quick)(_fetch)
    return app


class Fleet:
    """A client and workers over one database."""

    def __init__(self, app: App, settings: Settings, store: SqlCheckpointStore) -> None:
        self.pump = Pump(settings, app, store)
        self.client = Client(app, settings=settings, store=store, dispatcher=self.pump)

    def run(self, **vars: Any) -> str:
        run_id = self.client.start("fetch", vars)
        self.pump.run()
        return run_id

    def evidence(self, run_id: str) -> tuple[dict[str, Any], str]:
        """The only record, and the page it names."""
        (entry,) = evidence_entries(self.client.get(run_id))
        record = self.client.artifacts.load_json(entry["evidence_id"])
        page = self.client.artifacts.load_text(record["artifacts"]["raw"]["$artifact"])
        assert page is not None
        return record, page


@pytest.fixture(params=[False, True], ids=["queued", "quick"])
def fleet(
    request: pytest.FixtureRequest, fleet_settings: Settings, fleet_store: SqlCheckpointStore
) -> Iterator[Fleet]:
    fleet = Fleet(make_app(quick=request.param), fleet_settings, fleet_store)
    yield fleet
    fleet.client.close()


def _is_bounded(fleet: Fleet, run_id: str) -> bool:
    state = fleet.client.get(run_id)
    return PAGE not in str(state.vars) + str(state.output) + str(fleet.client.ledger(run_id))


def test_executed_calls(fleet: Fleet) -> None:
    run_id = fleet.run()
    record, page = fleet.evidence(run_id)
    assert (record["node_id"], record["arguments"], page) == ("ask", CALL["arguments"], PAGE)
    output = fleet.client.get(run_id).output
    assert output is not None
    (result,) = output["out"]["results"]
    assert result["output"] == {"rendered": "short", "raw_artifact": record["artifacts"]["raw"]}
    assert _is_bounded(fleet, run_id)


def test_a_reused_result(fleet: Fleet) -> None:
    run_id = fleet.run(again=True)
    state = fleet.client.get(run_id)
    assert state.output is not None
    assert (state.vars["visits"], state.output["fetched"]) == (3, 1)
    assert fleet.evidence(run_id)[1] == PAGE
    assert _is_bounded(fleet, run_id)


@pytest.mark.weakness("spec/03 §18.3")
def test_a_full_result_of_an_older_ledger(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    before = Fleet(make_app(evidence=lambda store: None), fleet_settings, fleet_store)
    run_id = before.client.start("fetch", {"again": True})
    with pytest.raises(AssertionError, match="still hints"):
        before.pump.run(limit=2)  # the node, then its effect
    assert before.client.get(run_id).vars["out"]["results"] == _results()
    after = Fleet(make_app(), fleet_settings, fleet_store)
    after.pump.send(before.pump.sent[-1:])
    after.pump.run()
    output = after.client.get(run_id).output
    assert output is not None
    assert output["fetched"] == 1
    assert after.evidence(run_id)[1] == PAGE
    assert PAGE not in str(output)
    before.client.close()
    after.client.close()


def test_results_that_somebody_brings(fleet: Fleet) -> None:
    run_id = fleet.run(delegates=True)
    with pytest.raises(WaitMismatchError):
        fleet.client.resume(run_id, {"results": _results()}, wait_key="other")
    assert fleet.client.artifacts.list_by_run(run_id) == []
    state = fleet.client.resume(run_id, {"results": _results()}, wait_key="job")
    assert state.status is RunStatus.RUNNING
    fleet.pump.run()
    record, page = fleet.evidence(run_id)
    assert (record["arguments"], page) == (CALL["arguments"], PAGE)
    assert fleet.client.get(run_id).status is RunStatus.COMPLETED
    assert _is_bounded(fleet, run_id)


class Meddling(InMemoryArtifactStore):
    """Somebody changes the run while evidence is stored."""

    meddle: Callable[[], object] | None = None

    def store(self, *args: Any, **kwargs: Any) -> Any:
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        return super().store(*args, **kwargs)


def test_what_others_do_meanwhile_is_kept(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    artifacts = Meddling()
    fleet = Fleet(make_app(artifacts=artifacts), fleet_settings, fleet_store)
    run_id = fleet.run(delegates=True)
    artifacts.meddle = lambda: fleet.client.update_limits(run_id, {"max_iterations": 99})
    fleet.client.resume(run_id, {"results": _results()})
    assert fleet.client.get(run_id).vars["_limits"]["max_iterations"] == 99
    assert fleet.evidence(run_id)[1] == PAGE
    fleet.client.close()


def test_it_is_kept_where_the_app_says(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore, tmp_path: Path
) -> None:
    fleet = Fleet(make_app(artifacts=FileArtifactStore(tmp_path)), fleet_settings, fleet_store)
    run_id = fleet.run()
    assert fleet.evidence(run_id)[1] == PAGE
    assert len(FileArtifactStore(tmp_path).list_by_run(run_id)) == 2
    fleet.client.close()


@pytest.mark.weakness("spec/03 §18.19")
def test_the_app_may_say_how_it_is_kept(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    def redacting(store: ArtifactStore) -> EvidenceRecorder:
        return EvidenceRecorder(artifact_store=store, redactor=redact_secrets(patterns=["xx+"]))

    fleet = Fleet(make_app(evidence=redacting), fleet_settings, fleet_store)
    assert fleet.evidence(fleet.run())[1] == "<p>[redacted]"
    run_id = fleet.run(delegates=True)
    fleet.client.resume(run_id, {"results": _results()})
    assert fleet.evidence(run_id)[1] == "<p>[redacted]"
    fleet.client.close()


def test_the_app_may_keep_nothing(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    fleet = Fleet(make_app(evidence=lambda store: None), fleet_settings, fleet_store)
    run_id = fleet.run()
    output = fleet.client.get(run_id).output
    assert output is not None
    assert output["out"]["results"] == _results()
    assert fleet.client.artifacts.list_by_run(run_id) == []
    fleet.client.close()


class Broken(InMemoryArtifactStore):
    """Keeps nothing."""

    def store(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("disk full")


def _unreachable() -> ArtifactStore:
    raise OSError("disk full")


@pytest.mark.weakness("spec/03 §18.29")
@pytest.mark.parametrize("artifacts", [Broken(), _unreachable])
def test_evidence_that_fails_is_counted_and_noted(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore, artifacts: Any
) -> None:
    before = metrics.snapshot().get("fault{kind=evidence}", 0)
    fleet = Fleet(make_app(artifacts=artifacts), fleet_settings, fleet_store)
    for vars in ({}, {"delegates": True}):
        run_id = fleet.run(**vars)
        if vars:
            fleet.client.resume(run_id, {"results": _results()})
            fleet.pump.run()
        state = fleet.client.get(run_id)
        assert state.output is not None
        assert state.output["out"]["results"] == _results()
        assert state.vars["_runtime"]["evidence_warnings"][0]["error"] == "disk full"
    assert metrics.snapshot()["fault{kind=evidence}"] == before + 2
    fleet.client.close()


def test_a_pause_during_the_call_loses_no_evidence() -> None:
    opened: list[ArtifactStore] = []

    def artifacts() -> ArtifactStore:
        opened.append(InMemoryArtifactStore())
        return opened[-1]

    app = make_app(artifacts=artifacts)
    bench = Bench(app)

    def fetch_paused(run: RunState, effect: Effect) -> EffectOutcome:
        from workers.control import Control

        Control(bench.deployment.commits).pause(run.run_id, None)
        return _fetch(run, effect)

    app.effect(EffectType.TOOL_CALLS)(fetch_paused)
    run_id = bench.start("fetch")
    bench.drain()
    found = bench.store.load(run_id)
    assert found is not None
    (entry,) = evidence_entries(found.run)
    assert opened[0].load_json(entry["evidence_id"])["call_id"] == "c1"
    assert found.run.vars["out"]["results"][0]["meta"] == {"evidence_id": entry["evidence_id"]}


# -- durable tool results (spec/03 §17) ------------------------------------------------------------------


def test_tool_results_outlive_their_worker(fleet_settings: Settings, fleet_store: SqlCheckpointStore) -> None:
    """The results are committed by one process and read by another, which does not call the tools again."""
    first = Fleet(make_app(), fleet_settings, fleet_store)
    run_id = first.client.start("fetch", {})
    with pytest.raises(AssertionError, match="still hints"):
        first.pump.run(limit=2)  # the node, then its effect
    state = first.client.get(run_id)
    assert (state.status, state.current_node) == (RunStatus.RUNNING, "end")
    results = state.vars["out"]
    assert [each["call_id"] for each in results["results"]] == ["c1"]
    second = Fleet(make_app(), fleet_settings, fleet_store)
    assert second.client.get(run_id).vars["out"] == results
    second.pump.send(first.pump.sent[-1:])
    second.pump.run()
    state = second.client.get(run_id)
    assert (state.status, state.output) == (RunStatus.COMPLETED, {"out": results, "fetched": 1})
    first.client.close()
    second.client.close()
