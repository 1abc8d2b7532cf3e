"""Tool waits that outlive processes: approval, passthrough, delegation (`spec/04 §7.4`, §7.7)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import (
    DelegatingMcpToolExecutor,
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from ..kernel.flows import asks, flow
from ..kernel.flows import done as finished
from . import toolbox
from .toolbox import call


def ask(run: RunState, context: Any) -> StepPlan:
    payload = {"tool_calls": run.vars["calls"], "allowed_tools": ["add", "noisy"]}
    return StepPlan("ask", Effect(EffectType.TOOL_CALLS, payload, "answers.tools"), "done")


def done(run: RunState, context: Any) -> StepPlan:
    return StepPlan("done", complete_output={"results": run.vars["answers"]["tools"]["results"]})


WORKFLOW = WorkflowSpec("careful", "ask", {"ask": ask, "done": done})

CALLS = [
    call("add", {"a": 1, "b": 2}, "1"),
    call("erase", {"secret": "hush"}, "2"),
    call("noisy", {"text": "x"}, "3"),
]
"""As a model asked for them; the second is not allowed at this node."""

Restart = Callable[[Any], Runtime]


@pytest.fixture(params=["sqlite", "json"])
def restart(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Restart]:
    """Gives what a new process would have: new stores over the same files."""
    opened: list[SqliteDatabase] = []

    def make(tools: Any) -> Runtime:
        if request.param == "json":
            stores: tuple[Any, Any] = JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
        else:
            opened.append(SqliteDatabase(tmp_path / "runs.sqlite3"))
            stores = SqliteRunStore(opened[-1]), SqliteLedgerStore(opened[-1])
        handler = make_tool_calls_handler(tools=tools)
        return Runtime(
            run_store=stores[0],
            ledger_store=stores[1],
            effect_handlers={EffectType.TOOL_CALLS: handler},
        )

    yield make
    for database in opened:
        database.close()


def executed_by_host(details: dict[str, Any]) -> dict[str, Any]:
    """What a host does with what it is shown."""
    tools = MappingToolExecutor({"add": toolbox.add, "noisy": toolbox.noisy})
    return tools.execute(tool_calls=details["tool_calls"])


def test_approval_survives_a_restart(restart: Restart) -> None:
    first = restart(PassthroughToolExecutor(mode="approval_required"))
    run_id = first.start(workflow=WORKFLOW, vars={"calls": CALLS})
    waiting = first.tick(workflow=WORKFLOW, run_id=run_id)
    assert waiting.status is RunStatus.WAITING

    second = restart(PassthroughToolExecutor(mode="approval_required"))
    seen = second.get_state(run_id).waiting
    assert seen is not None
    assert seen.details is not None
    assert seen.details["mode"] == "approval_required"
    assert [each["name"] for each in seen.details["tool_calls"]] == ["add", "noisy"]
    assert all(each["runtime_call_id"].startswith("rtcall_") for each in seen.details["tool_calls"])
    assert "hush" not in json.dumps(seen.details)

    answer = executed_by_host(seen.details)
    state = second.resume(workflow=WORKFLOW, run_id=run_id, wait_key=seen.wait_key, payload=answer)
    assert state.status is RunStatus.COMPLETED
    assert state.output is not None
    found = state.output["results"]
    assert [each["success"] for each in found] == [True, False, True]
    assert found[0]["output"] == 3
    assert found[1]["error"] == "Tool 'erase' is not allowed for this node"
    third = restart(PassthroughToolExecutor())
    assert third.get_state(run_id).output == state.output


def test_a_refusal_is_a_result(restart: Restart) -> None:
    runtime = restart(PassthroughToolExecutor(mode="approval_required"))
    run_id = runtime.start(workflow=WORKFLOW, vars={"calls": CALLS[:1]})
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    refusal = {"call_id": "1", "name": "add", "success": False, "output": None, "error": "Denied by Ann"}
    restarted = restart(PassthroughToolExecutor(mode="approval_required"))
    payload = {"mode": "approval_denied", "results": [refusal]}
    state = restarted.resume(workflow=WORKFLOW, run_id=run_id, wait_key=None, payload=payload)
    assert state.output == {"results": [refusal]}


def test_a_delegated_batch_waits_for_the_same_key_after_a_crash(restart: Restart) -> None:
    """Spec/04 §16.8: the worker was told, then the process died before the wait was stored."""

    class Death(BaseException):
        pass

    told: list[str] = []

    class Telling(DelegatingMcpToolExecutor):
        dies = True

        def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
            answer = super().execute(tool_calls=tool_calls)
            told.append(answer["wait_key"])
            if self.dies:
                raise Death
            return answer

    tools = Telling(server_id="files", mcp_url="http://127.0.0.1:1/")
    runtime = restart(tools)
    run_id = runtime.start(workflow=WORKFLOW, vars={"calls": CALLS[:1]})
    with pytest.raises(Death):
        runtime.tick(workflow=WORKFLOW, run_id=run_id)
    tools.dies = False
    waiting = restart(tools).tick(workflow=WORKFLOW, run_id=run_id).waiting
    assert waiting is not None
    assert told == [waiting.wait_key, waiting.wait_key]
    answer = executed_by_host(waiting.details or {})
    state = restart(tools).resume(workflow=WORKFLOW, run_id=run_id, wait_key=told[0], payload=answer)
    assert state.status is RunStatus.COMPLETED


@pytest.mark.weakness("spec/04 §16.18")
@pytest.mark.parametrize("executor", ["mapping", "approval"])
def test_arguments_can_be_kept_out_of_what_is_stored(executor: str) -> None:
    """The tool, or the host that asks in this process, gets the clear value; stores get the redacted one."""
    seen: list[str] = []
    tools: Any = MappingToolExecutor({"noisy": lambda text: seen.append(text)})
    if executor == "approval":
        tools = PassthroughToolExecutor(mode="approval_required")
    run_store, ledger_store = InMemoryRunStore(), InMemoryLedgerStore()
    runtime = Runtime(
        run_store=run_store,
        ledger_store=ledger_store,
        effect_handlers={EffectType.TOOL_CALLS: make_tool_calls_handler(tools=tools)},
        hooks=Hooks(redactor=redact_secrets(keys=["text"])),
    )
    calls = [call("noisy", {"text": "my password"})]
    workflow = flow(ask=asks(EffectType.TOOL_CALLS, {"tool_calls": calls}), done=finished)
    run_id = runtime.start(workflow=workflow)
    runtime.tick(workflow=workflow, run_id=run_id)
    stored = run_store.load(run_id)
    assert stored is not None
    everything = json.dumps([stored.to_dict(), ledger_store.list(run_id)], default=str)
    assert "my password" not in everything
    assert seen == (["my password"] if executor == "mapping" else [])


@pytest.mark.parametrize("executor", ["mapping", "approval"])
def test_arguments_of_blocked_calls_are_in_no_evidence(executor: str) -> None:
    """`execute_command` is a tool whose results are evidence, with its arguments."""
    tools: Any = MappingToolExecutor({"add": toolbox.add})
    if executor == "approval":
        tools = PassthroughToolExecutor(mode="approval_required")
    artifacts = InMemoryArtifactStore()
    runtime = Runtime(
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        artifact_store=artifacts,
        effect_handlers={EffectType.TOOL_CALLS: make_tool_calls_handler(tools=tools)},
    )
    calls = [call("execute_command", {"command": "hush"}, "1"), call("add", {"a": 1, "b": 2}, "2")]
    run_id = runtime.start(workflow=WORKFLOW, vars={"calls": calls})
    state = runtime.tick(workflow=WORKFLOW, run_id=run_id)
    if executor == "approval":
        answer = executed_by_host((state.waiting.details if state.waiting else None) or {})
        runtime.resume(workflow=WORKFLOW, run_id=run_id, wait_key=None, payload=answer)
    (entry,) = runtime.list_evidence(run_id)
    kept = [artifacts.load(each.artifact_id) for each in artifacts.list_all()]
    assert entry["tool_name"] == "execute_command"
    assert not [each for each in kept if each is not None and b"hush" in each.content]


@pytest.mark.weakness("spec/04 §16.18")
def test_logs_hold_no_arguments(caplog: pytest.LogCaptureFixture) -> None:
    tools = MappingToolExecutor({"raising": toolbox.raising})
    with caplog.at_level(0):
        toolbox.handled(tools, [call("raising", {"secret": "hush"}), call("ghost", {"secret": "hush"})])
    assert "hush" not in caplog.text
