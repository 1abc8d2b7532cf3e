"""Evidence of calls that the tool handler carries out, or leaves to somebody else (`spec/03 §15.1`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.integrations.abstractcore.effect_handlers import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import (
    MappingToolExecutor,
    PassthroughToolExecutor,
    ToolExecutor,
)
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .toolbox import call

PAGE = "<p>whales</p>" * 100


def fetch_url(url: str) -> dict[str, Any]:
    return {"url": url, "raw_text": PAGE, "rendered": "whales"}


def execute_command(command: str) -> str:
    raise OSError("no such command")


CALLS = [
    call("fetch_url", {"url": "https://example.org/1"}, "c1"),
    call("write_file", {"file_path": "a"}, "c2"),
    call("execute_command", {"command": "whalesong"}, "c3"),
]


def _ask(run: RunState, context: RunContext) -> StepPlan:
    payload = {"tool_calls": CALLS, "allowed_tools": ["fetch_url", "execute_command"]}
    return StepPlan("ask", Effect(EffectType.TOOL_CALLS, payload, "out"), "end")


def _end(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={"results": run.vars["out"]["results"]})


WORKFLOW = WorkflowSpec("wf", "ask", {"ask": _ask, "end": _end})


def started(tools: ToolExecutor) -> tuple[Runtime, str]:
    artifacts = InMemoryArtifactStore()
    runtime = Runtime(
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        artifact_store=artifacts,
        effect_handlers={
            EffectType.TOOL_CALLS: make_tool_calls_handler(tools=tools, artifact_store=artifacts)
        },
    )
    run_id = runtime.start(workflow=WORKFLOW, session_id="s1")
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    return runtime, run_id


def check(runtime: Runtime, run_id: str) -> None:
    """The page and the failed command are evidence, each with its own arguments; the blocked call is none."""
    state = runtime.get_state(run_id)
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    page, blocked, command = state.output["results"]
    records = [runtime.load_evidence(entry["evidence_id"]) for entry in runtime.list_evidence(run_id)]
    assert [record and record["arguments"] for record in records] == [
        {"url": "https://example.org/1"},
        {"command": "whalesong"},
    ]
    assert [record and record["success"] for record in records] == [True, False]
    assert page["output"]["rendered"] == "whales"
    assert set(page["output"]) == {"url", "rendered", "raw_artifact"}
    assert runtime.artifact_store.load_text(page["output"]["raw_artifact"]["$artifact"]) == PAGE
    assert blocked["error"] == "Tool 'write_file' is not allowed for this node"
    assert command["error"] == "no such command"
    assert PAGE not in str(state.vars)


def test_executed_calls() -> None:
    check(*started(MappingToolExecutor.from_tools([fetch_url, execute_command])))


def test_approved_calls() -> None:
    """The host answers the two calls it was shown; the blocked one has its answer already."""
    runtime, run_id = started(PassthroughToolExecutor(mode="approval_required"))
    wait = runtime.get_state(run_id).waiting
    assert wait is not None
    assert wait.details is not None
    shown = wait.details["tool_calls"]
    assert [each["name"] for each in shown] == ["fetch_url", "execute_command"]
    executor = MappingToolExecutor.from_tools([fetch_url, execute_command])
    runtime.resume(
        workflow=WORKFLOW, run_id=run_id, wait_key=wait.wait_key, payload=executor.execute(tool_calls=shown)
    )
    check(runtime, run_id)
