"""AbstractCore's own provider code over real HTTP (`spec/04 §15.2`)."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("abstractcore", reason="its providers are what is tested")

from pydantic import BaseModel

from abstractruntime.core.effect_context import EffectContext, carrying_out
from abstractruntime.integrations.abstractcore.llm_client import (
    GenerationCancelledError,
    LocalAbstractCoreLLMClient,
    MultiLocalAbstractCoreLLMClient,
    subscribe_stream_progress,
)
from tests.abstractcore.openai_server import Answer, OpenAIServer, tool_call
from tests.poll import eventually

MODELS = ("echo-1", "gpt-4o", "echo-2")
ADD = {
    "name": "add",
    "description": "Adds two numbers.",
    "parameters": {"a": {"type": "integer"}, "b": {"type": "integer"}},
}


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=MODELS) as server:
        yield server


def client_of(server: OpenAIServer, model: str = "echo-1", **kwargs: Any) -> LocalAbstractCoreLLMClient:
    return LocalAbstractCoreLLMClient(
        provider="openai-compatible", model=model, llm_kwargs={"base_url": server.base_url, **kwargs}
    )


def close(client: LocalAbstractCoreLLMClient) -> None:
    client._llm.client.close()


def test_a_call(server: OpenAIServer) -> None:
    client = client_of(server)
    server.script(Answer("hi there", reasoning="hm", usage={"prompt_tokens": 3, "completion_tokens": 2}))
    result = client.generate(
        prompt="hello",
        messages=[{"role": "user", "content": "before"}, {"role": "assistant", "content": "yes"}],
        system_prompt="be kind",
        params={"temperature": 0.25, "max_output_tokens": 33, "trace_metadata": {"run_id": "r"}},
    )
    sent = server.completions[0]
    assert [message["role"] for message in sent.messages] == ["system", "user", "assistant", "user"]
    assert sent.last_user_text.endswith("] hello")
    assert (sent.body["temperature"], sent.body["max_tokens"], sent.body["stream"]) == (0.25, 33, False)
    assert (result["content"], result["reasoning"], result["model"]) == ("hi there", "hm", "echo-1")
    assert result["usage"]["input_tokens"] == 3
    assert result["finish_reason"] == "stop"
    assert result["trace_id"]
    assert result["trace_id"] == result["metadata"]["trace_id"]
    assert result["gen_time"] >= 0
    assert result["metadata"]["_provider_request"]["payload"]["model"] == "echo-1"
    close(client)


def test_messages_alone(server: OpenAIServer) -> None:
    client = client_of(server)
    messages = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "two"}]
    result = client.generate(prompt="", messages=[*messages, {"role": "user", "content": "three"}])
    close(client)
    assert [message["content"].split("] ")[-1] for message in server.completions[0].messages] == [
        "one",
        "two",
        "three",
    ]
    assert result["content"].endswith("] three")


def test_structured_output_that_was_to_be_streamed(server: OpenAIServer) -> None:
    client = client_of(server, "gpt-4o")
    server.script(Answer.of_json({"name": "Paris", "people": 2}))
    result = client.generate(prompt="which?", params={"response_model": City, "stream": True})
    close(client)
    assert result["data"] == {"name": "Paris", "people": 2}


def test_native_tool_calls(server: OpenAIServer) -> None:
    client = client_of(server, "gpt-4o")
    server.script(Answer(None, tool_calls=[tool_call("add", {"a": 1, "b": 2}, "call_7")]))
    result = client.generate(prompt="1 + 2?", tools=[ADD])
    close(client)
    assert server.completions[0].body["tools"][0]["function"]["name"] == "add"
    assert result["tool_calls"] == [{"name": "add", "arguments": {"a": 1, "b": 2}, "call_id": "call_7"}]


def test_a_call_with_the_name_of_an_unknown_model_prompts_its_tools(server: OpenAIServer) -> None:
    client = client_of(server)
    server.script('<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>')
    result = client.generate(prompt="1 + 2?", tools=[ADD])
    close(client)
    assert "tools" not in server.completions[0].body
    assert "add" in server.completions[0].messages[0]["content"]
    assert result["tool_calls"][0]["name"] == "add"
    assert result["tool_calls"][0]["arguments"] == {"a": 1, "b": 2}


class City(BaseModel):
    name: str
    people: int


@pytest.mark.parametrize("model", ["gpt-4o", "echo-1"])
def test_structured_output(server: OpenAIServer, model: str) -> None:
    client = client_of(server, model)
    server.script(Answer.of_json({"name": "Paris", "people": 2}))
    result = client.generate(prompt="which?", params={"response_model": City})
    close(client)
    assert (result["content"], result["data"]) == (None, {"name": "Paris", "people": 2})
    captured = result["metadata"]["_provider_request"]["payload"]["params"]["response_model"]
    assert captured["schema"]["required"] == ["name", "people"]


def test_streaming(server: OpenAIServer) -> None:
    client = client_of(server)
    server.script(
        Answer(
            chunks=["one ", "two"],
            reasoning="hm",
            usage={"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
        )
    )
    result = client.generate(prompt="count", params={"stream": True})
    close(client)
    assert server.completions[0].body["stream"] is True
    assert (result["content"], result["reasoning"]) == ("one two", "hm")
    assert (result["usage"]["total_tokens"], result["finish_reason"]) == (5, "stop")
    assert 0 <= result["ttft_ms"] <= result["gen_time"]


def test_streamed_native_tool_calls(server: OpenAIServer) -> None:
    client = client_of(server, "gpt-4o")
    server.script(Answer("", tool_calls=[tool_call("add", {"a": 1, "b": 2}, "call_7")]))
    result = client.generate(prompt="1 + 2?", tools=[ADD], params={"stream": True})
    close(client)
    assert [(call["name"], call["arguments"]) for call in result["tool_calls"]] == [("add", {"a": 1, "b": 2})]


@pytest.mark.weakness("spec/04 §16.25")
def test_a_cancelled_effect_hangs_up_on_the_server(
    server: OpenAIServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LocalAbstractCoreLLMClient, "cancel_check_interval_s", 0.0)
    cancelled, shown = threading.Event(), threading.Event()

    def wait_until_cancelled(index: int) -> None:
        if index == 1:
            assert cancelled.wait(10)

    def shows(_: object) -> None:
        shown.set()

    client = client_of(server)
    server.script(Answer(chunks=[f"word{n} " * 50 for n in range(2000)], before_chunk=wait_until_cancelled))
    failures: list[BaseException] = []

    def ask() -> None:
        with carrying_out(EffectContext("run-1", "key-1", 1, cancelled.is_set)):
            try:
                client.generate(prompt="count", params={"stream": True})
            except GenerationCancelledError as exc:
                failures.append(exc)

    end = subscribe_stream_progress(shows, run_id="run-1")
    thread = threading.Thread(target=ask)
    thread.start()
    assert shown.wait(10)
    cancelled.set()
    thread.join(10)
    end()
    assert len(failures) == 1
    eventually(lambda: server.hung_up == 1)
    assert server.sent_chunks < 2000
    close(client)


def test_a_failing_server_fails_the_call(server: OpenAIServer) -> None:
    client = client_of(server)
    server.respond = lambda request: Answer.error(400, "this model is broken")
    with pytest.raises(Exception, match="this model is broken"):
        client.generate(prompt="x")
    close(client)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_model_that_the_server_does_not_have(server: OpenAIServer) -> None:
    with pytest.raises(Exception, match="not found"):
        client_of(server, "nothing")
    gc.collect()  # AbstractCore leaves the connection of the failed construction open


@pytest.mark.weakness("spec/04 §16.19")
def test_many_threads_on_two_models(server: OpenAIServer) -> None:
    client = MultiLocalAbstractCoreLLMClient(
        provider="openai-compatible", model="echo-1", llm_kwargs={"base_url": server.base_url}
    )
    meeting = threading.Barrier(4)
    server.respond = lambda request: Answer(
        f"{request.body['model']}: {request.last_user_text[-1]}", before=lambda: meeting.wait(20)
    )
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        model = "echo-2" if number % 2 else "echo-1"
        result = client.generate(prompt=f"number {number}", params={"_model": model})
        answers[number] = result["content"]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {0: "echo-1: 0", 1: "echo-2: 1", 2: "echo-1: 2", 3: "echo-2: 3"}
    made = [request for request in server.requests if request.path.endswith("/models")]
    assert len(made) == 2
    assert client.list_loaded_clients() == [
        ("openai-compatible", "echo-1"),
        ("openai-compatible", "echo-2"),
    ]
    assert client.unload(model="echo-2") is True
    meeting = threading.Barrier(1)
    assert client.generate(prompt="number 5", params={"_model": "echo-2"})["content"] == "echo-2: 5"
    client.unload_all()
    assert client.get_model_capabilities()["max_tokens"] > 0
