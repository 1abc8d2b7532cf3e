"""What goes to an AbstractCore server and what comes back (`spec/04 §5`)."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from abstractruntime.core.errors import RuntimeFault
from abstractruntime.integrations.abstractcore import llm_client
from abstractruntime.integrations.abstractcore.llm_client import HttpResponse, RemoteAbstractCoreLLMClient

HEADER = "[2026-01-02 03:04:05 FR]"


@pytest.fixture(autouse=True)
def fixed_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_client, "_system_context_header", lambda: HEADER)


def completion(**message: Any) -> dict[str, Any]:
    return {
        "model": "m-1",
        "choices": [{"message": {"content": "hi", **message}, "finish_reason": "stop"}],
        "usage": {"total_tokens": 3},
    }


class Sender:
    def __init__(self, answer: Any = None) -> None:
        self.answer = completion() if answer is None else answer
        self.sent: list[dict[str, Any]] = []

    def post(self, url: str, *, headers: dict[str, str], json: dict[str, Any], timeout: float) -> Any:
        self.sent.append({"url": url, "headers": headers, "json": json, "timeout": timeout})
        return self.answer


def client_of(sender: Sender, **more: Any) -> RemoteAbstractCoreLLMClient:
    keywords = {"server_base_url": "http://s:1//", "model": "m", "request_sender": sender, **more}
    return RemoteAbstractCoreLLMClient(**keywords)


def body_of(params: dict[str, Any] | None = None, **keywords: Any) -> dict[str, Any]:
    sender = Sender()
    client_of(sender).generate(**{"prompt": "x", "params": params, **keywords})
    body: dict[str, Any] = sender.sent[0]["json"]
    return body


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


# -- the request --------------------------------------------------------------------------------


def test_the_least_request() -> None:
    sender = Sender()
    client_of(sender, headers={"Authorization": "Bearer t"}).generate(prompt="hello")
    assert sender.sent == [
        {
            "url": "http://s:1/v1/chat/completions",
            "headers": {"Authorization": "Bearer t"},
            "json": {
                "model": "m",
                "messages": [user(f"{HEADER} hello")],
                "stream": False,
                "timeout_s": 7200.0,
            },
            "timeout": 7200.0,
        }
    ]


def test_the_timeout_goes_to_the_server_too() -> None:
    sender = Sender()
    client_of(sender, timeout_s=5).generate(prompt="x")
    assert (sender.sent[0]["timeout"], sender.sent[0]["json"]["timeout_s"]) == (5.0, 5.0)


@pytest.mark.weakness("spec/04 §16.1")
def test_prompt_and_messages_both_go_out_the_prompt_last() -> None:
    system = {"role": "system", "content": "Stored session attachments"}
    body = body_of(prompt="hello", messages=[system, user("before")], system_prompt=f"{HEADER}\nbe kind")
    assert body["messages"] == [
        {"role": "system", "content": "be kind"},
        system,
        user("before"),
        user(f"{HEADER} hello"),
    ]


@pytest.mark.weakness("spec/04 §16.1")
def test_a_prompt_that_is_the_last_message_already_goes_out_once() -> None:
    turn = user(f"{HEADER} hello")
    assert body_of(prompt=turn["content"], messages=[turn])["messages"] == [turn]
    answered = [turn, {"role": "assistant", "content": "hi"}]
    assert body_of(prompt=turn["content"], messages=answered)["messages"] == [*answered, turn]


def test_messages_alone() -> None:
    assert body_of(prompt="", messages=[user("a")])["messages"] == [user(f"{HEADER} a")]


def test_internal_system_messages_stay_here() -> None:
    internal = {"role": "system", "content": "Recent tool activity: ls"}
    assert body_of(prompt="x", messages=[internal])["messages"] == [user(f"{HEADER} x")]


@pytest.mark.weakness("spec/04 §16.2")
@pytest.mark.parametrize(
    ("params", "max_tokens"),
    [
        ({"max_output_tokens": 10}, 10),
        ({"max_tokens": 20}, 20),
        ({"max_output_tokens": 10, "max_tokens": 20}, 10),
        ({"max_output_tokens": None, "max_tokens": 20}, 20),
        ({}, None),
    ],
)
def test_the_output_budget(params: dict[str, Any], max_tokens: int | None) -> None:
    body = body_of(params)
    assert body.get("max_tokens") == max_tokens
    assert "max_output_tokens" not in body


@pytest.mark.weakness("spec/04 §16.2")
@pytest.mark.parametrize(
    ("params", "model"),
    [
        ({"_provider": " Ollama ", "_model": " qwen "}, "ollama/qwen"),
        ({"_provider": "ollama", "_model": "ollama/qwen"}, "ollama/qwen"),
        ({"_provider": "lmstudio", "_model": "qwen/qwen3"}, "lmstudio/qwen/qwen3"),
        ({"_model": "openai/gpt-4o"}, "openai/gpt-4o"),
        ({"_provider": "ollama"}, "ollama/m"),
        ({"_provider": " ", "_model": ""}, "m"),
    ],
)
def test_a_call_chooses_provider_and_model(params: dict[str, Any], model: str) -> None:
    assert body_of(params)["model"] == model


class City:
    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {"name": {"type": "string"}}}


@pytest.mark.weakness("spec/04 §16.2")
def test_structured_output_is_asked_for() -> None:
    body = body_of({"response_model": City})
    assert body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "City", "schema": City.model_json_schema()},
    }
    assert "response_model" not in body


def test_the_server_takes_no_schema_together_with_tools(caplog: pytest.LogCaptureFixture) -> None:
    body = body_of({"response_model": City}, tools=[{"name": "t"}])
    assert body["tools"] == [{"name": "t"}]
    assert "response_format" not in body
    assert "not enforced" in caplog.text


def test_params_that_the_server_knows() -> None:
    body = body_of(
        {
            "base_url": "http://l:1/v1",
            "prompt_cache_key": " k ",
            "temperature": "0.5",
            "seed": "7",
            "stop": ["END"],
            "frequency_penalty": 0,
            "presence_penalty": None,
            "top_p": 0.9,
            "audio_policy": "never",
            "glyph_compression": "never",
            "own": 1,
        },
        tools=[],
    )
    for name in ("model", "messages", "stream", "timeout_s"):
        del body[name]
    assert body == {
        "base_url": "http://l:1/v1",
        "prompt_cache_key": "k",
        "temperature": 0.5,
        "seed": 7,
        "stop": ["END"],
        "frequency_penalty": 0,
        "top_p": 0.9,
        "tools": [],
    }


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": "warm", "seed": -1, "prompt_cache_key": "  ", "base_url": ""},
        {"temperature": None, "seed": "x", "prompt_cache_key": 3},
        {"seed": True, "temperature": [1]},
    ],
)
def test_params_that_make_no_sense_are_left_out(params: dict[str, Any]) -> None:
    assert set(body_of(params)) == {"model", "messages", "stream", "timeout_s"}


@pytest.mark.parametrize("media", [["a.png"], [{"$artifact": "x"}]])
def test_media_are_refused(media: list[Any]) -> None:
    sender = Sender()
    with pytest.raises(ValueError, match=r"^RemoteAbstractCoreLLMClient does not support media yet"):
        client_of(sender).generate(prompt="x", media=media)
    assert sender.sent == []
    client_of(sender).generate(prompt="x", media=[])


# -- headers ------------------------------------------------------------------------------------


def headers_of(trace: Any, own: dict[str, str] | None = None) -> dict[str, str]:
    sender = Sender()
    client_of(sender, headers=own).generate(prompt="x", params={"trace_metadata": trace})
    headers: dict[str, str] = sender.sent[0]["headers"]
    return headers


def test_trace_headers() -> None:
    trace = {"run_id": "r", "session_id": "s", "actor_id": "a", "parent_run_id": "p", "node_id": "n"}
    assert headers_of(trace) == {
        "X-AbstractCore-Trace-Metadata": json.dumps(trace, separators=(",", ":")),
        "X-AbstractCore-Actor-Id": "a",
        "X-AbstractCore-Session-Id": "s",
        "X-AbstractCore-Run-Id": "r",
        "X-AbstractCore-Parent-Run-Id": "p",
    }


@pytest.mark.parametrize("trace", [None, {}, "r", ["run_id"]])
def test_no_trace_no_headers(trace: Any) -> None:
    assert headers_of(trace) == {}


def test_the_clients_own_headers_go_before() -> None:
    own = {"x-abstractcore-run-id": "mine", "x-abstractcore-trace-metadata": "old"}
    headers = headers_of({"run_id": "r", "actor_id": None}, own)
    assert headers == {
        "x-abstractcore-run-id": "mine",
        "X-AbstractCore-Trace-Metadata": '{"run_id":"r","actor_id":null}',
    }
    assert own == {"x-abstractcore-run-id": "mine", "x-abstractcore-trace-metadata": "old"}


def test_header_values_are_printable_ascii() -> None:
    trace = {"session_id": "séance\r\nX-Evil: 1", "actor_id": "Ω"}
    headers = headers_of(trace)
    assert all(" " <= char <= "~" for value in headers.values() for char in value)
    assert json.loads(headers["X-AbstractCore-Trace-Metadata"]) == trace
    assert headers["X-AbstractCore-Session-Id"] == "s\\xe9ance\\r\\nX-Evil: 1"


# -- the answer ---------------------------------------------------------------------------------


def test_the_whole_result() -> None:
    body = completion(
        thinking=" hm ", tool_calls=[{"id": "c", "function": {"name": "t", "arguments": '{"a": 1}'}}]
    )
    sender = Sender(HttpResponse(body=body, headers={"X-AbstractCore-Trace-Id": "trace-1"}))
    result = client_of(sender).generate(prompt="x")
    assert result == {
        "content": "hi",
        "reasoning": "hm",
        "data": None,
        "raw_response": body,
        "tool_calls": [{"name": "t", "arguments": {"a": 1}, "call_id": "c"}],
        "usage": {"total_tokens": 3},
        "model": "m-1",
        "finish_reason": "stop",
        "metadata": {
            "_provider_request": {"url": "http://s:1/v1/chat/completions", "payload": sender.sent[0]["json"]},
            "trace_id": "trace-1",
        },
        "trace_id": "trace-1",
    }


@pytest.mark.parametrize(
    ("headers", "trace_id"),
    [
        ({"x-trace-id": "b"}, "b"),
        ({"X-Trace-Id": "b", "x-abstractcore-trace-ID": "a"}, "a"),
        ({}, None),
    ],
)
def test_the_trace_id(headers: dict[str, str], trace_id: str | None) -> None:
    result = client_of(Sender(HttpResponse(completion(), headers))).generate(prompt="x")
    assert result["trace_id"] == trace_id
    assert result["metadata"].get("trace_id") == trace_id


@pytest.mark.parametrize(
    "answer",
    [
        completion(),
        HttpResponse(completion(), {}),
        SimpleNamespace(json=completion, headers={}),
        SimpleNamespace(body=completion(), headers={"a": "b"}),
    ],
)
def test_senders_may_answer_in_several_ways(answer: Any) -> None:
    assert client_of(Sender(answer)).generate(prompt="x")["content"] == "hi"


@pytest.mark.parametrize("answer", ["text", 5, ["a"], SimpleNamespace(json=lambda: ["a"], headers={})])
def test_any_other_answer_is_data(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    result = client_of(Sender(answer)).generate(prompt="x")
    data = ["a"] if isinstance(answer, SimpleNamespace) else answer
    assert (result["content"], result["data"]) == (None, {"data": data})
    assert "no usable choice" in caplog.text


@pytest.mark.parametrize(
    "body", [{"choices": []}, {"choices": ["x"]}, {"choices": [{"text": "x"}]}, {"ok": 1}]
)
def test_a_body_without_a_choice_is_data(body: dict[str, Any]) -> None:
    result = client_of(Sender(body)).generate(prompt="x")
    metadata = result.pop("metadata")
    assert set(metadata) == {"_provider_request"}
    assert result.pop("data") == result.pop("raw_response") == body
    assert set(result.values()) == {None}


@pytest.mark.parametrize("error", ["model not found", {"message": "model not found"}])
def test_an_error_with_status_200_fails_the_call(error: Any) -> None:
    with pytest.raises(RuntimeFault, match="answered with an error: model not found"):
        client_of(Sender({"error": error})).generate(prompt="x")


def test_closing_closes_the_sender() -> None:
    closed: list[bool] = []
    sender = Sender()
    sender.close = lambda: closed.append(True)  # type: ignore[attr-defined]
    client_of(sender).close()
    client_of(Sender()).close()
    assert closed == [True]
