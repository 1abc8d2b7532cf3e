"""LLM_CALL effects over AbstractCore's own provider code, the remote client and real HTTP."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunState, RunStatus
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.integrations.abstractcore.effect_handlers import build_effect_handlers
from abstractruntime.integrations.abstractcore.llm_client import (
    HttpxRequestSender,
    MultiLocalAbstractCoreLLMClient,
    RemoteAbstractCoreLLMClient,
)
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from tests.kernel.flows import asks, done, flow

from .attached import attach
from .openai_server import Answer, OpenAIServer, tool_call

pytest.importorskip("abstractcore", reason="its providers are what is tested")

LLM = EffectType.LLM_CALL
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}, "people": {"type": "integer"}},
    "required": ["city"],
}
GOOD, BAD = {"city": "Paris", "people": 2}, {"city": "London"}
ADD = {
    "name": "add",
    "description": "Adds.",
    "parameters": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}

Make = Callable[..., Runtime]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=("echo-1", "gpt-4o")) as server:
        yield server


@pytest.fixture
def local(server: OpenAIServer) -> Iterator[Make]:
    """Makes runtimes with AbstractCore in this process."""
    clients: list[MultiLocalAbstractCoreLLMClient] = []

    def make(model: str = "echo-1", **options: Any) -> Runtime:
        client = MultiLocalAbstractCoreLLMClient(
            provider="openai-compatible", model=model, llm_kwargs={"base_url": server.base_url}
        )
        clients.append(client)
        return runtime_of(client, **options)

    yield make
    for client in clients:
        for name, model in client.list_loaded_clients():
            client.get_provider_instance(provider=name, model=model).client.close()


def runtime_of(client: Any, **options: Any) -> Runtime:
    store = InMemoryArtifactStore()
    tools = MappingToolExecutor({"add": lambda a, b: a + b})
    handlers = build_effect_handlers(llm=client, tools=tools, artifact_store=store)
    return Runtime(
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        artifact_store=store,
        effect_handlers=handlers,
        **options,
    )


def go(runtime: Runtime, payload: dict[str, Any], vars: dict[str, Any] | None = None) -> RunState:
    workflow = flow(ask=asks(LLM, payload), done=done)
    return runtime.tick(workflow=workflow, run_id=runtime.start(workflow=workflow, vars=vars))


def result_of(run: RunState) -> dict[str, Any]:
    assert run.error is None
    result: dict[str, Any] = run.vars["out"]
    return result


def test_the_ledger_shows_what_the_server_got(server: OpenAIServer, local: Make) -> None:
    runtime = local()
    run = go(runtime, {"prompt": "hello", "use_context": True})
    prompt = runtime.get_ledger(run.run_id)[0]["effect"]["payload"]["prompt"]
    assert re.fullmatch(r"\[[^\]]+ [A-Z]{2}\] hello", prompt)
    assert server.completions[0].last_user_text == prompt
    assert [each["content"] for each in run.vars["context"]["messages"]] == [prompt, f"echo: {prompt}"]
    assert run.vars["_limits"]["estimated_tokens_used"] > 0


# -- structured output --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["echo-1", "gpt-4o"])
def test_structured_output(server: OpenAIServer, local: Make, model: str) -> None:
    server.script(Answer.of_json(GOOD))
    result = result_of(go(local(model), {"prompt": "where?", "response_schema": SCHEMA}))
    assert (result["data"], result["content"]) == (GOOD, None)
    assert "_structured_output_validation_error" not in result["metadata"]
    (request,) = server.completions
    assert ("response_format" in request.body) is (model == "gpt-4o")
    assert "Paris" in str(request.body)  # the allowed values reach the model either way


def test_abstractcore_asks_again_until_the_answer_matches(server: OpenAIServer, local: Make) -> None:
    server.script(Answer.of_json(BAD), Answer.of_json(GOOD))
    result = result_of(go(local(), {"prompt": "where?", "response_schema": SCHEMA}))
    assert result["data"] == GOOD
    assert len(server.completions) == 2


def test_an_answer_that_never_matches_is_a_failure(server: OpenAIServer, local: Make) -> None:
    server.respond = lambda request: Answer.of_json(BAD)
    runtime = local()
    run = go(runtime, {"prompt": "where?", "response_schema": SCHEMA})
    assert run.status is RunStatus.FAILED
    assert runtime.get_ledger(run.run_id)[1]["result"] == {"error_kind": "validation"}


@pytest.mark.weakness("spec/04 §16.5")
def test_plain_text_falls_back_to_a_plain_call(server: OpenAIServer, local: Make) -> None:
    """The commonest failure: the model answers in prose, which AbstractCore reports as a decode error."""
    server.respond = lambda request: Answer("I would say Paris.")
    payload = {"prompt": "where?", "response_schema": SCHEMA}
    assert go(local(), payload).status is RunStatus.FAILED
    asked = len(server.completions)
    result = result_of(go(local(), {**payload, "structured_output_fallback": True}))
    assert len(server.completions) == 2 * asked + 1
    assert result["metadata"]["_structured_output_fallback"]["used"] is True
    assert result["metadata"]["_structured_output_parse_error"]
    assert (result["data"], result["content"]) == (None, "I would say Paris.")


# -- truncation ------------------------------------------------------------------------------------------


def test_a_cut_answer_is_asked_for_again(server: OpenAIServer, local: Make) -> None:
    server.script(Answer("half", finish_reason="length"), Answer("whole"))
    result = result_of(go(local(), {"prompt": "tell", "max_output_tokens": 10}))
    assert result["content"] == "whole"
    assert [request.body["max_tokens"] for request in server.completions] == [10, 510]
    assert result["metadata"]["_truncation"]["resolved"] is True


def test_an_answer_that_stays_cut_is_a_failure(server: OpenAIServer, local: Make) -> None:
    server.respond = lambda request: Answer("half", finish_reason="length")
    run = go(local(), {"prompt": "tell", "params": {"max_tokens": 10}})
    assert "Attempted max_output_tokens: 10, 510, 1020." in str(run.error)
    assert [request.body["max_tokens"] for request in server.completions] == [10, 510, 1020]


# -- tools, routing, failures -------------------------------------------------------------------------------


def test_a_tool_call_and_its_result(server: OpenAIServer, local: Make) -> None:
    server.script(Answer(tool_calls=[tool_call("add", {"a": 2, "b": 3})]))

    def calls(run: RunState) -> dict[str, Any]:
        return {"tool_calls": run.vars["out"]["tool_calls"], "allowed_tools": ["add"]}

    workflow = flow(
        ask=asks(LLM, {"prompt": "2 + 3?", "tools": [ADD]}, then="work"),
        work=asks(EffectType.TOOL_CALLS, calls),
        done=done,
    )
    runtime = local("gpt-4o")
    run = runtime.tick(workflow=workflow, run_id=runtime.start(workflow=workflow))
    assert server.completions[0].body["tools"][0]["function"]["name"] == "add"
    (result,) = run.vars["out"]["results"]
    assert (result["success"], result["output"], result["call_id"]) == (True, 5, "call_1")


def test_a_call_may_go_to_another_model(server: OpenAIServer, local: Make) -> None:
    go(local(), {"prompt": "p", "provider": "OpenAI-Compatible", "model": "gpt-4o"})
    assert server.completions[0].body["model"] == "gpt-4o"


def test_a_failed_call_is_made_again(server: OpenAIServer, local: Make) -> None:
    server.script(Answer.error(400, "no"), "yes")
    runtime = local(effect_policy=RetryPolicy(backoff_base=0.0))
    run = go(runtime, {"prompt": "p", "use_context": True})
    assert result_of(run)["content"] == "yes"
    assert len(run.vars["context"]["messages"]) == 2


def test_text_attachments_reach_the_server(server: OpenAIServer, local: Make) -> None:
    runtime = local()
    stored = runtime.artifact_store.store(b"the secret is 42", content_type="text/plain")
    payload = {
        "messages": [{"role": "user", "content": "what is it?"}],
        "media": [{"$artifact": stored.artifact_id, "filename": "note.txt"}],
    }
    result_of(go(runtime, payload))
    assert "--- Content from note.txt ---\nthe secret is 42\n" in server.completions[0].last_user_text


# -- the remote client -----------------------------------------------------------------------------------


@pytest.fixture
def remote(server: OpenAIServer) -> Iterator[Runtime]:
    with closing(HttpxRequestSender()) as sender:
        client = RemoteAbstractCoreLLMClient(
            server_base_url=server.url, model="echo-1", request_sender=sender
        )
        yield runtime_of(client)


def test_remote_structured_output(server: OpenAIServer, remote: Runtime) -> None:
    server.script(Answer.of_json(GOOD))
    result = result_of(go(remote, {"prompt": "where?", "response_schema": SCHEMA}))
    assert result["data"] == GOOD
    assert server.completions[0].body["response_format"]["type"] == "json_schema"


def test_remote_truncation(server: OpenAIServer, remote: Runtime) -> None:
    server.script(Answer("half", finish_reason="length"), Answer("whole"))
    result = result_of(go(remote, {"prompt": "tell", "params": {"max_tokens": 10}}))
    assert result["content"] == "whole"
    assert [request.body["max_tokens"] for request in server.completions] == [10, 510]


def test_remote_prompt_with_attachment_notes(server: OpenAIServer, remote: Runtime) -> None:
    """The handler makes messages of a prompt-only call; the prompt must not get lost (`spec/04 §16.1`)."""
    payload = {"prompt": "hello", "params": {"include_session_attachments_index": True}, "use_context": True}
    workflow = flow(ask=asks(LLM, payload), done=done)
    attach(remote.artifact_store, "text", path="notes.md")
    run_id = remote.start(workflow=workflow, session_id="s1")
    assert remote.tick(workflow=workflow, run_id=run_id).status is RunStatus.COMPLETED
    system, user = server.completions[0].messages
    assert system["content"].startswith("Stored session attachments")
    assert user["content"].endswith("] hello")
