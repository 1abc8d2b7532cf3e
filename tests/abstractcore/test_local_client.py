"""What the local client gives its provider object and makes of the answer (`spec/04 §4`)."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore import llm_client
from abstractruntime.integrations.abstractcore._needs_abstractcore import needs_abstractcore
from abstractruntime.integrations.abstractcore.llm_client import LocalAbstractCoreLLMClient
from tests.abstractcore.providers import RecordingProvider

HEADER = "[2026-01-02 03:04:05 FR]"


@pytest.fixture(autouse=True)
def fixed_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_client, "_system_context_header", lambda: HEADER)


def client_of(provider: Any, name: str = "fake") -> LocalAbstractCoreLLMClient:
    return LocalAbstractCoreLLMClient.from_provider(provider, provider=name, model="m")


def ask(provider: RecordingProvider, **keywords: Any) -> dict[str, Any]:
    return client_of(provider).generate(**{"prompt": "", **keywords})


@dataclass
class Response:
    """Like AbstractCore's ``GenerateResponse``."""

    content: str | None = None
    raw_response: Any = None
    model: str | None = None
    finish_reason: str | None = None
    usage: Any = None
    tool_calls: Any = None
    metadata: Any = None
    gen_time: float | None = None


class StructuredAnswer:
    """Like an instance of a Pydantic model."""

    def model_dump(self) -> dict[str, Any]:
        return {"city": "Paris", "tags": ("a", "b")}

    @classmethod
    def model_json_schema(cls) -> dict[str, Any]:
        return {"type": "object", "properties": {"city": {"type": "string"}}}


# -- what the provider gets ---------------------------------------------------------------------


def test_the_provider_gets_a_grounded_turn_and_clean_params() -> None:
    provider = RecordingProvider(Response("hi"))
    params = {"temperature": 0, "base_url": "http://x", "_provider": "p", "_model": "q", "stream": False}
    tools = [{"name": "t"}]
    messages = [{"role": "user", "content": "before"}, "odd"]
    client_of(provider).generate(
        prompt="hello",
        messages=messages,  # type: ignore[arg-type]
        system_prompt=f"{HEADER}\nbe kind",
        tools=tools,
        media=["a.png"],
        params=params,
    )
    assert provider.calls == [
        {
            "prompt": f"{HEADER} hello",
            "messages": [{"role": "user", "content": "before"}],
            "system_prompt": "be kind",
            "tools": tools,
            "media": ["a.png"],
            "stream": False,
            "temperature": 0,
        }
    ]
    assert params["base_url"] == "http://x"
    assert len(messages) == 2


def test_internal_system_messages_stay_here() -> None:
    provider = RecordingProvider(Response("hi"))
    internal = {"role": "system", "content": "\n Recent tool activity: ls"}
    ask(provider, prompt="x", messages=[internal, {"role": "system", "content": "kept"}])
    ask(provider, prompt="x", messages=[internal])
    assert provider.calls[0]["messages"] == [{"role": "system", "content": "kept"}]
    assert provider.calls[1]["messages"] is None


@pytest.mark.parametrize(
    ("params", "wanted"),
    [
        ({}, False),
        ({"stream": True}, True),
        ({"streaming": "yes"}, True),
        ({"stream": "0"}, False),
        ({"stream": False, "streaming": True}, False),
        ({"stream": 1, "streaming": False}, True),
    ],
)
def test_stream_and_its_alias_never_leak(params: dict[str, Any], wanted: bool) -> None:
    provider = RecordingProvider(Response("hi"))
    ask(provider, prompt="x", params=params)
    assert provider.calls[0]["stream"] is wanted
    assert "streaming" not in provider.calls[0]


def test_structured_output_is_not_streamed() -> None:
    provider = RecordingProvider(StructuredAnswer())
    result = ask(provider, prompt="x", params={"stream": True, "response_model": StructuredAnswer})
    assert provider.calls[0]["stream"] is False
    assert result["data"]["city"] == "Paris"


# -- what comes back ----------------------------------------------------------------------------


def test_a_response_object() -> None:
    response = Response(
        content="hi",
        raw_response=SimpleNamespace(model_dump=lambda: {"choices": [{"message": {"thinking": " hm "}}]}),
        model="m-1",
        finish_reason="stop",
        usage={"total_tokens": 3},
        tool_calls=[{"id": "c", "function": {"name": "t", "arguments": "{}"}}],
        metadata={"trace_id": "trace-1", "when": (1, 2)},
        gen_time=12.5,
    )
    result = ask(RecordingProvider(response), prompt="x")
    metadata = result.pop("metadata")
    assert result == {
        "content": "hi",
        "reasoning": "hm",
        "data": None,
        "raw_response": {"choices": [{"message": {"thinking": " hm "}}]},
        "tool_calls": [{"name": "t", "arguments": {}, "call_id": "c"}],
        "usage": {"total_tokens": 3},
        "model": "m-1",
        "finish_reason": "stop",
        "trace_id": "trace-1",
        "gen_time": 12.5,
    }
    assert metadata["when"] == [1, 2]
    json.dumps(metadata)


@pytest.mark.parametrize(
    ("metadata", "raw", "reasoning"),
    [
        ({"reasoning": " deep "}, {"choices": [{"message": {"reasoning": "other"}}]}, "deep"),
        ({}, {"choices": [{"message": {"reasoning_content": "r"}}]}, "r"),
        ({}, {"choices": [{"delta": {"thinking_content": "d"}}]}, "d"),
        ({}, {"message": {"thinking": "t"}}, "t"),
        ({}, {"choices": [{"message": {"reasoning": "  "}}]}, None),
        (None, "text", None),
    ],
)
def test_reasoning(metadata: Any, raw: Any, reasoning: str | None) -> None:
    response = Response("hi", raw_response=raw, metadata=metadata)
    assert ask(RecordingProvider(response), prompt="x")["reasoning"] == reasoning


def test_a_dict_is_taken_as_it_is_and_enriched() -> None:
    answer = {"content": "hi", "own": {1, 2}, "metadata": {"trace_id": "t", "reasoning": " r "}}
    result = ask(RecordingProvider(answer), prompt="x")
    assert (result["content"], result["own"]) == ("hi", [1, 2])
    assert (result["trace_id"], result["reasoning"]) == ("t", "r")
    assert "_provider_request" in result["metadata"]
    assert "_provider_request" not in answer["metadata"]


def test_a_model_instance_is_data() -> None:
    result = ask(RecordingProvider(StructuredAnswer()), prompt="x")
    result.pop("metadata")
    assert result == {
        "content": None,
        "data": {"city": "Paris", "tags": ["a", "b"]},
        "tool_calls": None,
        "usage": None,
        "model": None,
        "finish_reason": None,
        "trace_id": None,
    }


def test_an_exception_of_the_provider_reaches_the_caller() -> None:
    def fail(**_: Any) -> Any:
        raise ValueError("no such model")

    with pytest.raises(ValueError, match="no such model"):
        ask(RecordingProvider(respond=fail), prompt="x")


# -- request capture ----------------------------------------------------------------------------


def test_the_request_is_captured() -> None:
    result = ask(
        RecordingProvider(Response("hi")),
        prompt="x",
        messages=[{"role": "assistant", "content": "before"}],
        system_prompt="be kind",
        params={"temperature": 0.5, "odd": (1,)},
    )
    assert result["metadata"]["_provider_request"] == {
        "transport": "local",
        "provider": "fake",
        "model": "m",
        "payload": {
            "model": "m",
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "assistant", "content": "before"},
                {"role": "user", "content": f"{HEADER} x"},
            ],
            "stream": False,
            "params": {"temperature": 0.5, "odd": [1]},
        },
    }


def test_a_prompt_that_is_the_last_user_message_is_captured_once() -> None:
    result = ask(
        RecordingProvider(Response("hi")),
        prompt=f"{HEADER} x",
        messages=[{"role": "user", "content": f"{HEADER} x"}],
        tools=[{"name": "t"}],
    )
    payload = result["metadata"]["_provider_request"]["payload"]
    assert payload["messages"] == [{"role": "user", "content": f"{HEADER} x"}]
    assert payload["tools"] == [{"name": "t"}]


def test_what_the_provider_captured_stands() -> None:
    response = Response("hi", metadata={"_provider_request": {"url": "u"}})
    result = ask(RecordingProvider(response), prompt="x")
    assert result["metadata"]["_provider_request"] == {"url": "u"}


def test_structured_output_is_captured_with_its_schema() -> None:
    result = ask(
        RecordingProvider(StructuredAnswer()), prompt="x", params={"response_model": StructuredAnswer}
    )
    captured = result["metadata"]["_provider_request"]["payload"]["params"]["response_model"]
    assert captured == {
        "name": "StructuredAnswer",
        "schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }


def test_a_capture_that_fails_does_not_fail_the_call(caplog: pytest.LogCaptureFixture) -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no words")

    result = ask(RecordingProvider(Response("hi")), prompt="x", params={"odd": Unspeakable()})
    assert result["content"] == "hi"
    assert "could not be captured" in caplog.text


# -- making the provider ------------------------------------------------------------------------


class FakeAbstractCore(ModuleType):
    def __init__(self) -> None:
        super().__init__("abstractcore")
        self.made: list[tuple[str, str, dict[str, Any]]] = []

    def create_llm(self, provider: str, *, model: str, **kwargs: Any) -> RecordingProvider:
        self.made.append((provider, model, kwargs))
        return RecordingProvider(Response("hi"))


@pytest.fixture
def fake_abstractcore(monkeypatch: pytest.MonkeyPatch) -> FakeAbstractCore:
    fake = FakeAbstractCore()
    monkeypatch.setitem(sys.modules, "abstractcore", fake)
    return fake


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (None, {"enable_tracing": True, "max_traces": 50}),
        ({"timeout": 5}, {"timeout": 5, "enable_tracing": True, "max_traces": 50}),
        ({"max_traces": 3}, {"enable_tracing": True, "max_traces": 3}),
        ({"enable_tracing": False}, {"enable_tracing": False}),
    ],
)
def test_tracing_is_on_unless_told_otherwise(
    fake_abstractcore: FakeAbstractCore, given: dict[str, Any] | None, wanted: dict[str, Any]
) -> None:
    before = dict(given) if given is not None else None
    client = LocalAbstractCoreLLMClient(provider="ollama", model="qwen", llm_kwargs=given)
    assert fake_abstractcore.made == [("ollama", "qwen", wanted)]
    assert isinstance(client._llm, RecordingProvider)
    assert client.provider_instance is client._llm
    assert given == before


def test_an_instance_made_without_its_constructor_works() -> None:
    client = object.__new__(LocalAbstractCoreLLMClient)
    client._provider, client._model, client._llm = "mlx", "m", RecordingProvider(Response("hi"))
    assert client.generate(prompt="x")["content"] == "hi"


def test_a_missing_abstractcore_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    with pytest.raises(ImportError, match=r"not installed: pip install .abstractruntime\[abstractcore\]"):
        LocalAbstractCoreLLMClient(provider="ollama", model="qwen")


def test_what_an_installed_abstractcore_misses_is_said_as_it_says_it() -> None:
    with pytest.raises(ModuleNotFoundError, match="No module named 'torch'"), needs_abstractcore():
        raise ModuleNotFoundError("No module named 'torch'", name="torch")


def test_capabilities_have_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("abstractcore", "abstractcore.architectures.detection"):
        monkeypatch.setitem(sys.modules, name, None)
    assert client_of(None).get_model_capabilities() == {"max_tokens": 32768}


def test_capabilities_come_from_abstractcore() -> None:
    pytest.importorskip("abstractcore", reason="its table of models")
    client = LocalAbstractCoreLLMClient.from_provider(None, provider="openai", model="gpt-4o")
    assert client.get_model_capabilities()["max_tokens"] > 32768


# -- one answer at a time -----------------------------------------------------------------------


MEET_S, APART_S = 20.0, 0.2


class CrowdedProvider(RecordingProvider):
    """Says how many threads were in it at once. Two that can meet do: they wait for each other, two that
    must not are seen to be apart for ``patience_s`` seconds."""

    def __init__(self, *, stream: bool, patience_s: float) -> None:
        super().__init__()
        self.patience_s = patience_s
        self.meeting = threading.Barrier(2)
        self.most = 0
        self.inside = 0
        self.guard = threading.Lock()
        self.is_stream = stream

    def generate(self, **keywords: Any) -> Any:
        return self._answer() if self.is_stream else next(iter(self._answer()))

    def _answer(self) -> Any:
        with self.guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
        with contextlib.suppress(threading.BrokenBarrierError):
            self.meeting.wait(self.patience_s)
        with self.guard:
            self.inside -= 1
        yield Response("hi")


def crowd(provider: CrowdedProvider, name: str, model: str) -> int:
    clients = [
        LocalAbstractCoreLLMClient.from_provider(provider, provider=name, model=model) for _ in range(2)
    ]
    threads = [
        threading.Thread(target=c.generate, kwargs={"prompt": "x", "params": {"stream": provider.is_stream}})
        for c in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return provider.most


@pytest.mark.weakness("spec/04 §16.20")
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", ["MLX", "mlx", "huggingface"])
def test_models_in_this_process_give_one_answer_at_a_time(name: str, stream: bool) -> None:
    assert crowd(CrowdedProvider(stream=stream, patience_s=APART_S), name, f"lock-{stream}") == 1


@pytest.mark.parametrize("stream", [False, True])
def test_other_providers_run_at_once(stream: bool) -> None:
    assert crowd(CrowdedProvider(stream=stream, patience_s=MEET_S), "ollama", "m") == 2


@pytest.mark.weakness("spec/04 §16.20")
@pytest.mark.parametrize(("declared", "most"), [(True, 2), (False, 1)])
def test_a_provider_declares_its_own_safety(declared: bool, most: int) -> None:
    provider = CrowdedProvider(stream=False, patience_s=MEET_S if declared else APART_S)
    provider.thread_safe = declared  # type: ignore[attr-defined]
    name = "mlx" if declared else "ollama"
    assert crowd(provider, name, "declared") == most


def test_the_warning_comes_once_per_pair(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            client_of(RecordingProvider(Response("hi")), "mlx").generate(prompt="x", params={})
            LocalAbstractCoreLLMClient.from_provider(
                RecordingProvider(Response("hi")), provider="mlx", model="warned-about"
            ).generate(prompt="x")
    assert sum("warned-about" in record.getMessage() for record in caplog.records) == 1
