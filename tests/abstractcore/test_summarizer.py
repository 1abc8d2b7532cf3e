"""Summaries through AbstractCore, from a model behind real HTTP (`spec/04 §11`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("abstractcore", reason="its BasicSummarizer is what is adapted")

from abstractruntime.integrations.abstractcore.llm_client import LocalAbstractCoreLLMClient
from abstractruntime.integrations.abstractcore.summarizer import AbstractCoreChatSummarizer, ChatSummarizer
from tests.abstractcore.openai_server import Answer, OpenAIServer

SUMMARY = {
    "summary": "They chose blue.",
    "key_points": ["blue"],
    "confidence": 0.0,
    "focus_alignment": 0.5,
}
HISTORY: list[dict[str, Any]] = [
    {"role": "user", "content": "Which colour?"},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "Why that one?"},
]


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer(models=["gpt-4o"], respond=lambda request: Answer.of_json(SUMMARY)) as server:
        yield server


@pytest.fixture
def summarizer(server: OpenAIServer) -> Iterator[AbstractCoreChatSummarizer]:
    client = LocalAbstractCoreLLMClient(
        provider="openai-compatible", model="gpt-4o", llm_kwargs={"base_url": server.base_url}
    )
    yield AbstractCoreChatSummarizer(client.provider_instance, max_tokens=9000, max_output_tokens=-1)
    client.provider_instance.client.close()


def asked(server: OpenAIServer) -> str:
    return json.dumps([request.messages for request in server.completions])


def test_a_summary(server: OpenAIServer, summarizer: AbstractCoreChatSummarizer) -> None:
    assert isinstance(summarizer, ChatSummarizer)
    assert (summarizer.max_tokens, summarizer.max_output_tokens) == (9000, -1)
    result = summarizer.summarize_chat_history(HISTORY, preserve_recent=1, focus="colours")
    assert result == {
        "summary": "They chose blue.",
        "key_points": ["blue"],
        "confidence": 0.0,
        "focus_alignment": 0.5,
        "word_count_original": 9,
        "word_count_summary": 3,
    }
    assert "Which colour?" in asked(server)
    assert "Why that one?" not in asked(server)
    assert "colours" in asked(server)


@pytest.mark.parametrize("preserve_recent", [0, -1])
def test_nothing_preserved_is_everything_summarised(
    server: OpenAIServer, summarizer: AbstractCoreChatSummarizer, preserve_recent: int
) -> None:
    summarizer.summarize_chat_history(HISTORY, preserve_recent=preserve_recent)
    assert all(message["content"] in asked(server) for message in HISTORY)


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("LIGHT", "Preserve most details"),
        ("standard", "balanced compression"),
        (" heavy ", "most critical information"),
        ("gentle", "balanced compression"),
        (None, "balanced compression"),
    ],
)
def test_modes(server: OpenAIServer, summarizer: AbstractCoreChatSummarizer, mode: Any, words: str) -> None:
    summarizer.summarize_chat_history(HISTORY, preserve_recent=0, compression_mode=mode)
    assert words in asked(server)


def test_content_that_is_no_text(server: OpenAIServer, summarizer: AbstractCoreChatSummarizer) -> None:
    parts = [{"type": "text", "text": "a picture of a cat"}, {"type": "image_url", "image_url": {"url": "u"}}]
    history = [{"role": "user", "content": parts}, {"role": "tool", "content": None}, {"content": {"a": 1}}]
    summarizer.summarize_chat_history(history, preserve_recent=0)
    assert "a picture of a cat" in asked(server)


def test_a_model_that_fails(server: OpenAIServer, summarizer: AbstractCoreChatSummarizer) -> None:
    server.respond = lambda request: Answer.error(400, "out of order")
    with pytest.raises(Exception, match="out of order"):
        summarizer.summarize_chat_history(HISTORY)
