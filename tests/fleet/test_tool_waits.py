"""Tool calls of a fleet: approval through the client, and batches that break off (`spec/04 §7`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.app import App
from abstractruntime.core.errors import WaitMismatchError
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import (
    DelegatingMcpToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers.client import Client
from workers.settings import Settings

CALLS = [
    {"name": "send", "arguments": {"to": "bob"}, "call_id": "1"},
    {"name": "erase", "arguments": {"allowed_tools": ["erase"]}, "call_id": "2", "allowed_tools": ["erase"]},
]


def _ask(run: RunState, ctx: Any) -> StepPlan:
    payload = {"tool_calls": CALLS, "allowed_tools": ["send"]}
    return StepPlan("ask", Effect(EffectType.TOOL_CALLS, payload, "tools"), "done")


def _three(run: RunState, ctx: Any) -> StepPlan:
    calls = [{"name": name, "arguments": {}} for name in ("first", "open_attachment", "last")]
    return StepPlan("three", Effect(EffectType.TOOL_CALLS, {"tool_calls": calls}, "tools"), "done")


def _done(run: RunState, ctx: Any) -> StepPlan:
    return StepPlan("done", complete_output={"results": run.vars["tools"]["results"]})


def _app(tools: Any, **options: Any) -> App:
    return App(
        workflows=[
            WorkflowSpec("careful", "ask", {"ask": _ask, "done": _done}),
            WorkflowSpec("batch", "three", {"three": _three, "done": _done}),
        ],
        effect_handlers={EffectType.TOOL_CALLS: make_tool_calls_handler(tools=tools)},
        **options,
    )


@pytest.fixture
def fleet_app() -> App:
    return _app(PassthroughToolExecutor(mode="approval_required"))


@pytest.fixture
def waiting(client: Client, pump: Pump) -> str:
    run_id = client.start("careful")
    pump.run()
    assert client.get(run_id).status is RunStatus.WAITING
    return run_id


def _answer(run: RunState) -> dict[str, Any]:
    assert run.waiting is not None
    calls = (run.waiting.details or {})["tool_calls"]
    return {
        "results": [
            {
                **{key: each[key] for key in ("call_id", "runtime_call_id", "name")},
                "success": True,
                "output": "ok",
            }
            for each in calls
        ]
    }


@pytest.mark.parametrize("door", ["resume", "respond"])
def test_approval_through_the_client(client: Client, pump: Pump, waiting: str, door: str) -> None:
    asked = client.get(waiting)
    assert asked.waiting is not None
    assert asked.waiting.wait_key == f"tool_calls:{waiting}:ask"
    assert [each["name"] for each in (asked.waiting.details or {})["tool_calls"]] == ["send"]
    with pytest.raises(WaitMismatchError):
        client.resume(waiting, {"results": []}, wait_key="tool_calls:another")
    answer = _answer(asked)
    if door == "resume":
        client.resume(waiting, answer, wait_key=asked.waiting.wait_key)
    else:
        client.respond(waiting, answer)
    pump.run()
    run = client.get(waiting)
    assert run.status is RunStatus.COMPLETED
    assert run.output is not None
    assert [each["name"] for each in run.output["results"]] == ["send", "erase"]
    assert [each["success"] for each in run.output["results"]] == [True, False]
    with pytest.raises(WaitMismatchError):
        client.respond(waiting, answer)


@pytest.mark.parametrize("door", ["resume", "respond"])
def test_a_delegated_batch_is_answered_by_its_worker(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore, door: str
) -> None:
    app = _app(DelegatingMcpToolExecutor(server_id="s", mcp_url="http://127.0.0.1:1/"))
    pump = Pump(fleet_settings, app, fleet_store)
    with Client(app, settings=fleet_settings, store=fleet_store, dispatcher=pump) as client:
        run_id = client.start("careful")
        pump.run()
        asked = client.get(run_id)
        assert asked.waiting is not None
        assert (asked.waiting.wait_key or "").startswith("mcp_job:")
        getattr(client, door)(run_id, _answer(asked))
        pump.run()
        assert client.get(run_id).status is RunStatus.COMPLETED


class Breaking:
    """Fails in the second segment, the first time."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        for each in tool_calls:
            self.ran.append(each["name"])
            if self.ran.count("last") == 1:
                raise RuntimeError("no line")
        return {
            "mode": "executed",
            "results": [{"name": each["name"], "success": True} for each in tool_calls],
        }


@pytest.mark.weakness("spec/04 §16.6")
def test_a_retry_on_a_fleet_executes_only_what_has_no_result(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore
) -> None:
    tools = Breaking()
    app = _app(tools, policy=RetryPolicy(tool_max_attempts=2, backoff_base=0))
    pump = Pump(fleet_settings, app, fleet_store)
    with Client(app, settings=fleet_settings, store=fleet_store, dispatcher=pump) as client:
        run_id = client.start("batch")

        def ended() -> bool:
            """The second attempt is a timer: its hint may have come a moment too early."""
            pump.deployment.engine.effect(run_id, client.checkpoint(run_id).version)
            pump.run()
            return client.get(run_id).is_terminal

        pump.run()
        eventually(ended)
        run = client.get(run_id)
        assert run.status is RunStatus.COMPLETED, run.error
        assert tools.ran == ["first", "last", "last"]
        failed = [entry.record for entry in client.ledger(run_id) if entry.record["status"] == "failed"]
        assert [record["error"] for record in failed] == ["no line"]
        assert client.artifacts.list_by_run(run_id) == []
