"""Evidence as a run has it, whatever it is stored in (`spec/03 §15`, §17, §18)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.core.runtime import Runtime
from abstractruntime.history_bundle import export_run_history_bundle
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.offloading import OffloadingLedgerStore, OffloadingRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from .flows import asks, done, flow
from .kernel import Kernel, counting

PAGE = "<p>" + "x" * 5000
CALLS = [
    {"name": "fetch_url", "call_id": "c1", "arguments": {"url": "https://example.org"}},
    {"name": "read_file", "call_id": "c2", "arguments": {"file_path": "a"}},
]
WORKFLOW = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": CALLS}), done=done)


def results() -> list[dict[str, Any]]:
    return [
        {"call_id": "c1", "name": "fetch_url", "success": True, "output": {"raw_text": PAGE}, "error": None},
        {"call_id": "c2", "name": "read_file", "success": True, "output": "File: a", "error": None},
    ]


def fetches(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"mode": "executed", "results": results()})


def waits(run: RunState, effect: Effect) -> EffectOutcome:
    details = {"mode": "delegated", "tool_calls": effect.payload["tool_calls"]}
    return EffectOutcome.waiting(
        WaitState(WaitReason.JOB, "k", resume_to_node="done", result_key="out", details=details)
    )


@pytest.fixture
def artifacts(kernel: Kernel) -> InMemoryArtifactStore:
    """The store of a kernel whose tool calls are carried out by `fetches`."""
    store = InMemoryArtifactStore()
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: fetches}, artifact_store=store)
    return store


def ledger_results(kernel: Kernel, run_id: str) -> Any:
    (record,) = [each for each in kernel.ledger(run_id) if (each["result"] or {}).get("results")]
    return record["result"]["results"]


@pytest.mark.weakness("spec/03 §18.20")
def test_vars_ledger_and_trace_have_references(kernel: Kernel, artifacts: InMemoryArtifactStore) -> None:
    state = kernel.go(WORKFLOW)
    (entry,) = kernel.runtime.list_evidence(state.run_id)
    record = kernel.runtime.load_evidence(entry["evidence_id"])
    assert record is not None
    assert record["node_id"] == "a"
    assert artifacts.load_text(record["artifacts"]["raw"]["$artifact"]) == PAGE
    page, other = state.vars["out"]["results"]
    assert page["output"] == {"raw_artifact": record["artifacts"]["raw"]}
    assert page["meta"] == {"evidence_id": entry["evidence_id"]}
    assert other == results()[1]
    assert ledger_results(kernel, state.run_id) == [page, other]
    (step,) = kernel.runtime.get_node_trace(state.run_id, "a")["steps"]
    assert step["result"]["results"] == [page, other]
    assert PAGE not in str(kernel.ledger(state.run_id)) + str(kernel.state(state.run_id).vars)


def test_the_handlers_own_object_stays(kernel: Kernel) -> None:
    mine = {"mode": "executed", "results": results()}
    kernel.use(
        effect_handlers={EffectType.TOOL_CALLS: lambda run, effect: EffectOutcome.completed(mine)},
        artifact_store=InMemoryArtifactStore(),
    )
    kernel.go(WORKFLOW)
    assert mine == {"mode": "executed", "results": results()}


def test_without_an_artifact_store_outputs_stay(kernel: Kernel) -> None:
    state = kernel.use(effect_handlers={EffectType.TOOL_CALLS: fetches}).go(WORKFLOW)
    assert state.vars["out"]["results"] == results()
    assert kernel.runtime.list_evidence(state.run_id) == []


def test_reading_back(kernel: Kernel, artifacts: InMemoryArtifactStore) -> None:
    with pytest.raises(KeyError):
        kernel.runtime.list_evidence("nobody")
    assert kernel.runtime.load_evidence("nothing") is None
    kernel.use()
    with pytest.raises(RuntimeError, match="Evidence requires an ArtifactStore"):
        kernel.runtime.load_evidence("nothing")


@pytest.mark.weakness("spec/03 §18.3")
def test_a_result_reused_after_a_crash_has_its_evidence(
    kernel: Kernel, artifacts: InMemoryArtifactStore
) -> None:
    handler, calls = counting(fetches)
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler}, artifact_store=artifacts)
    run_id = kernel.start(WORKFLOW)
    save = kernel.run_store.save

    def die(run: RunState) -> None:
        raise KeyboardInterrupt

    kernel.run_store.save = die
    with pytest.raises(KeyboardInterrupt):
        kernel.tick(WORKFLOW, run_id)
    kernel.run_store.save = save
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler}, artifact_store=artifacts)
    state = kernel.tick(WORKFLOW, run_id)
    assert (state.status, len(calls)) == (RunStatus.COMPLETED, 1)
    (entry,) = kernel.runtime.list_evidence(run_id)
    assert state.vars["out"]["results"][0]["meta"] == {"evidence_id": entry["evidence_id"]}
    assert PAGE not in str(state.vars)
    assert len(artifacts.list_by_run(run_id)) == 2


@pytest.mark.weakness("spec/03 §18.3")
def test_a_full_result_of_an_older_ledger_is_stripped_when_it_is_reused(
    kernel: Kernel, artifacts: InMemoryArtifactStore
) -> None:
    loop = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": CALLS}, then="a"))
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: fetches})  # no artifact store yet
    run_id = kernel.start(loop)
    kernel.tick(loop, run_id, max_steps=1)
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: fetches}, artifact_store=artifacts)
    kernel.tick(loop, run_id, max_steps=3)
    assert len(kernel.runtime.list_evidence(run_id)) == 1
    assert PAGE not in str(kernel.state(run_id).vars["out"])


def test_a_loop_that_reuses_its_result_has_one_evidence(
    kernel: Kernel, artifacts: InMemoryArtifactStore
) -> None:
    loop = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": CALLS}, then="a"))
    run_id = kernel.start(loop)
    kernel.tick(loop, run_id, max_steps=4)
    assert len(kernel.runtime.list_evidence(run_id)) == 1


def test_results_that_somebody_else_brings(kernel: Kernel, artifacts: InMemoryArtifactStore) -> None:
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: waits}, artifact_store=artifacts)
    run_id = kernel.go(WORKFLOW).run_id
    given = {"results": list(reversed(results()))}
    state = kernel.resume(WORKFLOW, run_id, given)
    assert given == {"results": list(reversed(results()))}
    (entry,) = kernel.runtime.list_evidence(run_id)
    record = kernel.runtime.load_evidence(entry["evidence_id"])
    assert record is not None
    assert record["arguments"] == {"url": "https://example.org"}
    page = state.vars["out"]["results"][1]
    assert page["output"] == {"raw_artifact": record["artifacts"]["raw"]}
    resumed = next(each for each in kernel.ledger(run_id) if (each["effect"] or {}).get("type") == "resume")
    assert resumed["effect"]["payload"]["payload"]["results"][1] == page


def test_a_wait_that_keeps_nothing_has_no_evidence(kernel: Kernel, artifacts: InMemoryArtifactStore) -> None:
    def forgets(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.waiting(
            WaitState(WaitReason.JOB, "k", resume_to_node="done", details={"tool_calls": CALLS})
        )

    kernel.use(effect_handlers={EffectType.TOOL_CALLS: forgets}, artifact_store=artifacts)
    run_id = kernel.go(WORKFLOW).run_id
    kernel.resume(WORKFLOW, run_id, {"results": results()})
    assert kernel.runtime.list_evidence(run_id) == []


@pytest.mark.weakness("spec/03 §18.29")
@pytest.mark.parametrize("handler", [fetches, waits])
def test_evidence_that_fails_is_a_warning(
    kernel: Kernel, artifacts: InMemoryArtifactStore, handler: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **kwargs: Any) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(artifacts, "store", full)
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler}, artifact_store=artifacts)
    state = kernel.go(WORKFLOW)
    if state.status is RunStatus.WAITING:
        state = kernel.resume(WORKFLOW, state.run_id, {"results": results()})
    assert state.status is RunStatus.COMPLETED
    assert state.vars["out"]["results"] == results()
    (warning,) = state.vars["_runtime"]["evidence_warnings"]
    assert (warning["node_id"], warning["error"]) == ("a", "disk full")
    assert kernel.runtime.fault_counts == {"evidence": 1}


@pytest.mark.weakness("spec/03 §18.19")
def test_the_hosts_redactor_sees_evidence(kernel: Kernel) -> None:
    artifacts = InMemoryArtifactStore()
    kernel.use(
        effect_handlers={EffectType.TOOL_CALLS: fetches},
        artifact_store=artifacts,
        hooks=Hooks(redactor=redact_secrets(patterns=["xxx+"])),
    )
    run_id = kernel.go(WORKFLOW).run_id
    stored = [artifacts.load(each.artifact_id) for each in artifacts.list_by_run(run_id)]
    assert len(stored) == 2
    assert not any("xxx" in artifact.as_text() for artifact in stored if artifact)


def test_the_history_bundle_carries_it(kernel: Kernel, artifacts: InMemoryArtifactStore) -> None:
    run_id = kernel.go(WORKFLOW).run_id
    stores = {"run_store": kernel.run_store, "ledger_store": kernel.ledger_store, "artifact_store": artifacts}
    assert "evidence" not in export_run_history_bundle(run_id=run_id, **stores)
    bundle = export_run_history_bundle(run_id=run_id, include_evidence=True, **stores)
    (entry,) = kernel.runtime.list_evidence(run_id)
    record = kernel.runtime.load_evidence(entry["evidence_id"])
    assert bundle["evidence"] == {run_id: [{**entry, "record": record}]}
    shown = bundle["ledgers"][run_id]["items"][1]["record"]["result"]["results"][0]
    assert shown["meta"]["evidence_id"] == entry["evidence_id"]
    del stores["artifact_store"]
    bundle = export_run_history_bundle(run_id=run_id, include_evidence=True, **stores)
    assert bundle["evidence"] == {run_id: [{**entry, "record": None}]}


# -- durable tool results (spec/03 §17) ------------------------------------------------------------------


def test_tool_results_outlive_a_restart(kernel: Kernel) -> None:
    handler, calls = counting(fetches)
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    run_id = kernel.start(WORKFLOW)
    state = kernel.tick(WORKFLOW, run_id, max_steps=1)
    expected = {"mode": "executed", "results": results()}
    assert (state.status, state.current_node, state.vars["out"]) == (RunStatus.RUNNING, "done", expected)
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    assert kernel.state(run_id).vars["out"] == expected
    state = kernel.tick(WORKFLOW, run_id)
    assert (state.status, state.output) == (RunStatus.COMPLETED, {"out": expected})
    assert len(calls) == 1


class Place:
    """Stores that are opened anew, as a new process does."""

    def __init__(self, kind: str, folder: Path) -> None:
        self._kind = kind
        self._folder = folder
        self._database: SqliteDatabase | None = None
        self.artifacts = InMemoryArtifactStore()

    def open(self) -> tuple[Any, Any]:
        self.close()
        if "sqlite" in self._kind:
            self._database = SqliteDatabase(self._folder / "runs.sqlite3")
            runs, ledger = SqliteRunStore(self._database), SqliteLedgerStore(self._database)
        else:
            runs, ledger = JsonFileRunStore(self._folder), JsonlLedgerStore(self._folder)
        if "offloading" not in self._kind:
            return runs, ledger
        return (
            OffloadingRunStore(runs, artifact_store=self.artifacts, max_inline_bytes=1000),
            OffloadingLedgerStore(ledger, artifact_store=self.artifacts, max_inline_bytes=1000),
        )

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


@pytest.fixture(params=["json", "sqlite", "json offloading", "sqlite offloading"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    place = Place(request.param, tmp_path)
    yield place
    place.close()


@pytest.mark.parametrize("keeps_evidence", [False, True])
def test_tool_results_are_in_the_files(place: Place, keeps_evidence: bool) -> None:
    handler, calls = counting(fetches)

    def runtime() -> Runtime:
        runs, ledger = place.open()
        return Runtime(
            run_store=runs,
            ledger_store=ledger,
            effect_handlers={EffectType.TOOL_CALLS: handler},
            artifact_store=place.artifacts if keeps_evidence else None,
        )

    first = runtime()
    run_id = first.start(workflow=WORKFLOW)
    before = first.tick(workflow=WORKFLOW, run_id=run_id, max_steps=1)
    assert (before.status, before.current_node) == (RunStatus.RUNNING, "done")
    second = runtime()
    found = second.get_state(run_id)
    assert found.vars["out"]["results"][1] == results()[1]
    assert len(second.list_evidence(run_id)) == keeps_evidence
    after = second.tick(workflow=WORKFLOW, run_id=run_id)
    assert after.status is RunStatus.COMPLETED
    assert after.output is not None
    assert [each["call_id"] for each in after.output["out"]["results"]] == ["c1", "c2"]
    assert len(calls) == 1
