"""A stream becomes one result; it stops when nobody wants it any more (`spec/04 §4.2`, §16.25)."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from abstractruntime.core.effect_context import EffectContext, carrying_out
from abstractruntime.integrations.abstractcore.llm_client import (
    GenerationCancelledError,
    LocalAbstractCoreLLMClient,
    StreamProgress,
    subscribe_stream_progress,
)
from tests.abstractcore.providers import RecordingProvider


def stream_of(chunks: Iterator[Any]) -> dict[str, Any]:
    provider = RecordingProvider(chunks)
    client = LocalAbstractCoreLLMClient.from_provider(provider, provider="fake", model="m")
    return client.generate(prompt="x", params={"stream": True})


def test_chunks_become_one_result() -> None:
    chunks: list[Any] = [
        {"content": "", "metadata": {"trace_id": "first", "a": 1}},
        SimpleNamespace(content="Hel", model="m-1", metadata={"trace_id": "second", "a": 2}),
        SimpleNamespace(content="lo", tool_calls=[{"name": "old"}], usage={"total_tokens": 1}, model="m-2"),
        {"content": None, "tool_calls": [{"name": "t", "arguments": '{"a": 1}'}], "finish_reason": "stop"},
        {"usage": {"total_tokens": 9}},
    ]
    result = stream_of(iter(chunks))
    assert result.pop("gen_time") >= 0
    assert result.pop("ttft_ms") >= 0
    request = result["metadata"].pop("_provider_request")
    assert request["payload"]["stream"] is True
    assert result == {
        "content": "Hello",
        "reasoning": None,
        "data": None,
        "tool_calls": [{"name": "t", "arguments": {"a": 1}, "call_id": None}],
        "usage": {"total_tokens": 9},
        "model": "m-1",
        "finish_reason": "stop",
        "metadata": {"trace_id": "second", "a": 2},
        "trace_id": "first",
    }


def test_an_empty_stream() -> None:
    result = stream_of(iter([]))
    assert (result["content"], result["tool_calls"], result["ttft_ms"]) == ("", None, None)


def test_a_chunk_without_calls_takes_none_away() -> None:
    result = stream_of(
        iter([{"tool_calls": [{"name": "t", "call_id": "1"}]}, {"content": "", "tool_calls": []}])
    )
    assert result["tool_calls"] == [{"name": "t", "arguments": {}, "call_id": "1"}]


def test_the_last_complete_reasoning_counts() -> None:
    chunks = [
        {"metadata": {"reasoning_delta": "I th"}},
        {"metadata": {"reasoning": "I th"}},
        {"content": "hi", "metadata": {"reasoning_delta": "ink"}},
        {"metadata": {"reasoning": "I think. "}},
    ]
    assert stream_of(iter(chunks))["reasoning"] == "I think."
    assert stream_of(iter([chunks[0], chunks[2]]))["reasoning"] == "I think"


def test_the_providers_own_time_to_first_token_counts() -> None:
    chunks = [
        {"content": "a"},
        {"content": "b", "metadata": {"_timing": {"ttft_ms": 7.5}}},
        {"metadata": {"_timing": {"ttft_ms": 9}}},
    ]
    assert stream_of(iter(chunks))["ttft_ms"] == 7.5


def test_an_answer_that_is_no_stream_is_whole() -> None:
    result = stream_of({"content": "hi"})  # type: ignore[arg-type]
    assert result["content"] == "hi"
    assert "ttft_ms" not in result


def test_an_error_in_the_stream_reaches_the_caller() -> None:
    def broken() -> Iterator[Any]:
        yield {"content": "a"}
        raise ConnectionError("gone")

    with pytest.raises(ConnectionError, match="gone"):
        stream_of(broken())


class Effect:
    """An attempt that is cancelled when the test says so."""

    def __init__(self) -> None:
        self.is_cancelled = False
        self.looks = 0

    def cancelled(self) -> bool:
        self.looks += 1
        return self.is_cancelled

    def context(self) -> EffectContext:
        return EffectContext("run-1", "key-1", 2, self.cancelled)


@pytest.mark.weakness("spec/04 §16.25")
def test_a_cancelled_effect_closes_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalAbstractCoreLLMClient, "cancel_check_interval_s", 0.0)
    effect = Effect()
    seen: list[str] = []

    def chunks() -> Iterator[Any]:
        try:
            yield {"content": "a"}
            effect.is_cancelled = True
            yield {"content": "b"}
            seen.append("went on")
            yield {"content": "c"}
        finally:
            seen.append("closed")

    with carrying_out(effect.context()), pytest.raises(GenerationCancelledError, match="after 1 chunks"):
        stream_of(chunks())
    assert seen == ["closed"]


def test_cancellation_is_not_asked_for_with_every_chunk() -> None:
    effect = Effect()
    with carrying_out(effect.context()):
        result = stream_of(iter({"content": "a"} for _ in range(500)))
    assert result["content"] == "a" * 500
    assert 1 <= effect.looks < 100


@pytest.mark.weakness("spec/04 §16.25")
def test_subscribers_see_the_text_as_it_comes() -> None:
    seen: list[StreamProgress] = []
    others: list[StreamProgress] = []

    def fail(_: StreamProgress) -> None:
        raise RuntimeError("a subscriber's own trouble")

    ends = [
        subscribe_stream_progress(fail),
        subscribe_stream_progress(seen.append, run_id="run-1"),
        subscribe_stream_progress(others.append, run_id="run-2"),
    ]

    def chunks() -> Iterator[Any]:
        yield {"content": "a"}
        assert [progress.text for progress in seen] == ["a"]
        yield {"metadata": {}}
        yield {"content": "b"}

    with carrying_out(Effect().context()):
        stream_of(chunks())
    for end in ends:
        end()
        end()
    with carrying_out(Effect().context()):
        stream_of(iter([{"content": "late"}]))
    assert seen == [
        StreamProgress("run-1", "key-1", 2, 0, "a"),
        StreamProgress("run-1", "key-1", 2, 2, "b"),
    ]
    assert others == []
