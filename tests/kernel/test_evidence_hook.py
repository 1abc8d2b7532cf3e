"""When tool results are kept as evidence, and what becomes of failures (`spec/01 §11.3`, §19 row 20)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from abstractruntime.core import extensions
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.artifacts import InMemoryArtifactStore

from .flows import asks, done, flow
from .kernel import Kernel

CALLS = [{"name": "web_search", "call_id": "c1", "arguments": {"query": "q"}}]
RESULTS = {"mode": "executed", "results": [{"call_id": "c1", "name": "web_search", "output": "long text"}]}
WORKFLOW = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": CALLS}), done=done)


class Recorder:
    """Replaces each output, as the real one does with large parts."""

    def __init__(self, error: str | None = None) -> None:
        self.error = error
        self.seen: list[Any] = []

    def record_tool_calls(
        self, *, run: RunState, node_id: str, tool_calls: list[Any], tool_results: list[Any]
    ) -> None:
        if self.error:
            raise RuntimeError(self.error)
        self.seen.append((node_id, [call["name"] for call in tool_calls]))
        for result in tool_results:
            result["output"] = "kept"
        run.vars.setdefault("_runtime", {}).setdefault("memory_spans", []).append({"kind": "evidence"})


def waits(run: RunState, effect: Any) -> EffectOutcome:
    details = {"mode": "passthrough", "tool_calls": CALLS}
    return EffectOutcome.waiting(
        WaitState(WaitReason.EVENT, "k", resume_to_node="done", result_key="out", details=details)
    )


def executes(run: RunState, effect: Any) -> EffectOutcome:
    return EffectOutcome.completed({"mode": "executed", "results": [dict(RESULTS["results"][0])]})  # type: ignore[call-overload]


@pytest.mark.weakness("spec/03 §18.20")
def test_after_a_completed_step(kernel: Kernel) -> None:
    recorder = Recorder()
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: executes}, hooks=Hooks(evidence=recorder))
    state = kernel.go(WORKFLOW)
    assert recorder.seen == [("a", ["web_search"])]
    assert state.vars["out"]["results"][0]["output"] == "kept"
    assert kernel.ledger(state.run_id)[1]["result"]["results"][0]["output"] == "kept"
    assert kernel.runtime.list_evidence(state.run_id) == [{"kind": "evidence"}]


def test_not_for_a_reused_result(kernel: Kernel) -> None:
    recorder = Recorder()
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: executes}, hooks=Hooks(evidence=recorder))
    ask = asks(EffectType.TOOL_CALLS, {"tool_calls": CALLS}, then="a")
    run_id = kernel.start(flow(a=ask))
    kernel.tick(flow(a=ask), run_id, max_steps=3)
    assert len(recorder.seen) == 1


def test_on_resume_before_the_record(kernel: Kernel) -> None:
    recorder = Recorder()
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: waits}, hooks=Hooks(evidence=recorder))
    run_id = kernel.go(WORKFLOW).run_id
    given = {"mode": "executed", "results": [dict(RESULTS["results"][0])]}  # type: ignore[call-overload]
    state = kernel.resume(WORKFLOW, run_id, given)
    assert (state.status, recorder.seen) == (RunStatus.COMPLETED, [("a", ["web_search"])])
    assert state.vars["out"]["results"][0]["output"] == "kept"
    assert given["results"][0]["output"] == "long text"
    record = next(r for r in kernel.ledger(run_id) if (r["effect"] or {}).get("type") == "resume")
    assert record["effect"]["payload"]["payload"]["results"][0]["output"] == "kept"


@pytest.mark.weakness("spec/01 §19.20")
@pytest.mark.parametrize("handler", [executes, waits])
def test_a_failure_is_not_fatal_but_shown(
    kernel: Kernel, caplog: pytest.LogCaptureFixture, handler: Any
) -> None:
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler}, hooks=Hooks(evidence=Recorder("disk full")))
    state = kernel.go(WORKFLOW)
    with caplog.at_level(logging.WARNING):
        if state.status is RunStatus.WAITING:
            state = kernel.resume(WORKFLOW, state.run_id, RESULTS)
    assert (state.status, state.vars["out"]) == (RunStatus.COMPLETED, RESULTS)
    (warning,) = state.vars["_runtime"]["evidence_warnings"]
    assert (warning["node_id"], warning["error"]) == ("a", "disk full")
    assert kernel.runtime.fault_counts == {"evidence": 1}
    assert any("not recorded" in record.message for record in caplog.records)


@pytest.mark.weakness("spec/02 U-7")
@pytest.mark.weakness("spec/01 §19.20")
def test_records_that_could_not_be_appended_are_counted(kernel: Kernel) -> None:
    append = kernel.ledger_store.append

    def failing(record: Any) -> None:
        if (record.effect or {}).get("type") in ("resume", "emit_event"):
            raise OSError("disk full")
        append(record)

    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.ledger_store.append = failing
    assert kernel.resume(workflow, run_id, 1).status is RunStatus.COMPLETED
    assert kernel.runtime.fault_counts == {"ledger_record": 2}


@pytest.fixture
def package_recorder() -> Iterator[None]:
    """The package's own recorder, as ``abstractruntime`` would provide it."""
    before = dict(extensions._homes)
    extensions.provide("evidence_recorder", f"{__name__}:PackageRecorder")
    yield
    extensions._homes.clear()
    extensions._homes.update(before)
    extensions._found.pop("evidence_recorder", None)


class PackageRecorder(Recorder):
    def __init__(self, *, artifact_store: Any) -> None:
        super().__init__()
        assert artifact_store is not None


@pytest.mark.usefixtures("package_recorder")
def test_the_packages_recorder_needs_only_an_artifact_store(kernel: Kernel) -> None:
    extensions._found["evidence_recorder"] = PackageRecorder
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: executes})
    assert kernel.go(WORKFLOW).vars["out"]["results"][0]["output"] == "long text"
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: executes}, artifact_store=InMemoryArtifactStore())
    assert kernel.go(WORKFLOW).vars["out"]["results"][0]["output"] == "kept"


# -- the resume record (spec/01 §10.14) ------------------------------------------------------------------


def resume_payload(kernel: Kernel, run_id: str) -> Any:
    record = next(r for r in kernel.ledger(run_id) if (r["effect"] or {}).get("type") == "resume")
    return record["effect"]["payload"]["payload"]


ASK = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)


def test_large_answers_are_references_in_the_ledger(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", "100")
    artifacts = InMemoryArtifactStore()
    kernel.use(artifact_store=artifacts)
    run_id = kernel.go(ASK).run_id
    answer = {"text": "x" * 500, "small": "y"}
    assert kernel.resume(ASK, run_id, answer).vars["out"] == answer
    shown = resume_payload(kernel, run_id)
    assert shown["small"] == "y"
    artifact = artifacts.load(shown["text"]["$artifact"])
    assert artifact is not None
    assert artifact.as_text() == "x" * 500
    assert artifact.metadata.run_id == run_id
    assert artifact.metadata.tags["source"] == "resume"
    assert artifact.metadata.tags["path"] == "resume.payload.text"


def test_the_top_value_stays(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", "100")
    kernel.use(artifact_store=InMemoryArtifactStore())
    run_id = kernel.go(ASK).run_id
    kernel.resume(ASK, run_id, "x" * 500)
    assert resume_payload(kernel, run_id) == "x" * 500


def test_without_an_artifact_store_everything_stays(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", "100")
    run_id = kernel.go(ASK).run_id
    kernel.resume(ASK, run_id, {"text": "x" * 500})
    assert resume_payload(kernel, run_id) == {"text": "x" * 500}


def test_an_artifact_store_that_fails_leaves_the_answer_inline(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(InMemoryArtifactStore):
        def store(self, *args: Any, **kwargs: Any) -> Any:
            raise OSError("disk full")

    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", "100")
    kernel.use(artifact_store=Broken())
    run_id = kernel.go(ASK).run_id
    assert kernel.resume(ASK, run_id, {"text": "x" * 500}).status is RunStatus.COMPLETED
    assert resume_payload(kernel, run_id) == {"text": "x" * 500}
    assert kernel.runtime.fault_counts == {"resume_offload": 1}
