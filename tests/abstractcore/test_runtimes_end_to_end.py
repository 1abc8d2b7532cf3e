"""Runs with LLM and tool steps over real HTTP, in all three modes (`spec/04 §2` to §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import Effect, EffectType, RunStatus, Runtime, StepPlan, WorkflowSpec
from abstractruntime.integrations.abstractcore.factory import (
    create_hybrid_runtime,
    create_local_file_runtime,
    create_local_runtime,
    create_remote_runtime,
)
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from tests.abstractcore.openai_server import Answer, OpenAIServer, tool_call

MODEL = "gpt-4o"
ADD = {
    "name": "add",
    "description": "Adds two numbers.",
    "parameters": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}


def add(a: int, b: int) -> int:
    return a + b


TOOLS = MappingToolExecutor({"add": add})


def ask(run: Any, context: Any) -> StepPlan:
    payload = {"prompt": "1 + 2?", "tools": [ADD], "params": {"temperature": 0}}
    return StepPlan(
        node_id="ask", effect=Effect(EffectType.LLM_CALL, payload, "asked"), next_node="calculate"
    )


def calculate(run: Any, context: Any) -> StepPlan:
    payload = {"tool_calls": run.vars["asked"]["tool_calls"]}
    return StepPlan(
        node_id="calculate", effect=Effect(EffectType.TOOL_CALLS, payload, "found"), next_node="say"
    )


def say(run: Any, context: Any) -> StepPlan:
    found = run.vars["found"]["results"][0]["output"]
    history = [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": f"add gives {found}"}]
    payload = {"prompt": "So?", "messages": history, "max_output_tokens": 20}
    return StepPlan(node_id="say", effect=Effect(EffectType.LLM_CALL, payload, "said"), next_node="done")


def done(run: Any, context: Any) -> StepPlan:
    return StepPlan(node_id="done", complete_output={"text": run.vars["said"]["content"]})


FLOW = WorkflowSpec(
    workflow_id="sum", entry_node="ask", nodes={"ask": ask, "calculate": calculate, "say": say, "done": done}
)


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=[MODEL]) as server:
        server.script(Answer(None, tool_calls=[tool_call("add", {"a": 1, "b": 2}, "c1")]), "It is 3.")
        yield server


def local(server: OpenAIServer, **more: Any) -> Runtime:
    pytest.importorskip("abstractcore", reason="its providers answer in local mode")
    return create_local_runtime(
        provider="openai-compatible",
        model=MODEL,
        llm_kwargs={"base_url": server.base_url},
        tool_executor=TOOLS,
        **more,
    )


def remote(server: OpenAIServer) -> Runtime:
    return create_remote_runtime(server_base_url=server.url, model=MODEL, tool_executor=TOOLS)


def hybrid(server: OpenAIServer) -> Runtime:
    return create_hybrid_runtime(server_base_url=server.url, model=MODEL, tool_executor=TOOLS)


def close(runtime: Runtime) -> None:
    client: Any = runtime._abstractcore_llm_client  # type: ignore[attr-defined]
    client.unload_all() if hasattr(client, "unload_all") else client.close()


@pytest.mark.parametrize("make", [local, remote, hybrid])
def test_the_same_run_in_every_mode(server: OpenAIServer, make: Callable[[OpenAIServer], Runtime]) -> None:
    runtime = make(server)
    run_id = runtime.start(workflow=FLOW, session_id="s-1")
    state = runtime.tick(workflow=FLOW, run_id=run_id)
    close(runtime)
    assert (state.status, state.output) == (RunStatus.COMPLETED, {"text": "It is 3."})
    first, second = server.completions
    assert first.last_user_text.endswith("] 1 + 2?")
    assert first.body["tools"]
    assert second.last_user_text.endswith("] So?")
    assert [message["role"] for message in second.messages] == ["user", "assistant", "user"]
    assert second.messages[1]["content"] == "add gives 3"
    assert second.body["max_tokens"] == 20
    prompts = [
        record["effect"]["payload"]["prompt"]
        for record in runtime.get_ledger(run_id)
        if record["effect"] and record["effect"]["type"] == "llm_call"
    ]
    assert second.last_user_text in prompts


def test_tools_of_a_remote_runtime_are_the_hosts(server: OpenAIServer) -> None:
    runtime = create_remote_runtime(server_base_url=server.url, model=MODEL)
    run_id = runtime.start(workflow=FLOW)
    waiting = runtime.tick(workflow=FLOW, run_id=run_id)
    assert waiting.status is RunStatus.WAITING
    assert waiting.waiting is not None
    assert waiting.waiting.details is not None
    (call,) = waiting.waiting.details["tool_calls"]
    assert (call["name"], call["arguments"], call["call_id"]) == ("add", {"a": 1, "b": 2}, "c1")
    result = {**call, "success": True, "output": 3, "error": None}
    state = runtime.resume(
        workflow=FLOW, run_id=run_id, wait_key=waiting.waiting.wait_key, payload={"results": [result]}
    )
    close(runtime)
    assert state.output == {"text": "It is 3."}


def test_a_local_run_goes_on_in_another_process(server: OpenAIServer, tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="its providers answer in local mode")

    def make() -> Runtime:
        return create_local_file_runtime(
            base_dir=tmp_path,
            provider="openai-compatible",
            model=MODEL,
            llm_kwargs={"base_url": server.base_url},
            tool_executor=TOOLS,
        )

    runtime = make()
    run_id = runtime.start(workflow=FLOW)
    runtime.tick(workflow=FLOW, run_id=run_id, max_steps=2)
    close(runtime)
    again = make()
    state = again.tick(workflow=FLOW, run_id=run_id)
    close(again)
    assert state.output == {"text": "It is 3."}
    assert len(server.completions) == 2


def test_a_streamed_step(server: OpenAIServer) -> None:
    def stream(run: Any, context: Any) -> StepPlan:
        payload = {"prompt": "1 + 2?", "params": {"stream": True}}
        return StepPlan(node_id="ask", effect=Effect(EffectType.LLM_CALL, payload, "said"), next_node="done")

    flow = WorkflowSpec(workflow_id="streams", entry_node="ask", nodes={"ask": stream, "done": done})
    runtime = local(server)
    server.script()
    run_id = runtime.start(workflow=flow)
    state = runtime.tick(workflow=flow, run_id=run_id)
    close(runtime)
    assert state.status is RunStatus.COMPLETED
    assert server.completions[0].body["stream"] is True
    assert state.vars["said"]["ttft_ms"] >= 0
