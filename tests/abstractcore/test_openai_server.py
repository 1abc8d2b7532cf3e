"""The test server says what it was told to say, over real sockets."""

from __future__ import annotations

import threading

import httpx
import pytest

from tests.abstractcore.openai_server import Answer, OpenAIServer, tool_call

BODY = {"model": "echo-1", "messages": [{"role": "user", "content": "hello"}]}


def test_models_script_and_echo() -> None:
    with OpenAIServer(models=["echo-1", "b"]) as server, httpx.Client(base_url=server.base_url) as client:
        assert [model["id"] for model in client.get("models").json()["data"]] == ["echo-1", "b"]
        server.script("first", Answer(tool_calls=[tool_call("add", {"a": 1})]))
        texts = [client.post("chat/completions", json=BODY).json()["choices"][0] for _ in range(3)]
        assert texts[0]["message"]["content"] == "first"
        assert texts[1]["finish_reason"] == "tool_calls"
        assert texts[1]["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
        assert texts[2]["message"]["content"] == "echo: hello"
        assert len(server.completions) == 3
        assert server.connections == 1


def test_streaming() -> None:
    with OpenAIServer() as server:
        server.script("one two")
        lines = httpx.post(f"{server.base_url}/chat/completions", json={**BODY, "stream": True}).text
    assert lines.count("data: ") == 5
    assert lines.endswith("data: [DONE]\n\n")


def test_failures_and_dropped_connections() -> None:
    with OpenAIServer() as server:
        server.script(Answer.error(503, "busy", headers={"Retry-After": "2"}), Answer(drop=True))
        refused = httpx.post(f"{server.base_url}/chat/completions", json=BODY)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{server.base_url}/chat/completions", json=BODY)


def test_an_answer_can_be_held_back() -> None:
    release = threading.Event()
    with OpenAIServer() as server:
        server.script(Answer("late", before=lambda: release.wait(10)))
        got: list[str] = []

        def ask() -> None:
            answer = httpx.post(f"{server.base_url}/chat/completions", json=BODY).json()
            got.append(answer["choices"][0]["message"]["content"])

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_for_completions(1)
        assert got == []
        release.set()
        thread.join(10)
        assert got == ["late"]


def test_embeddings_are_a_function_of_the_text() -> None:
    with OpenAIServer() as server:
        answer = httpx.post(f"{server.base_url}/embeddings", json={"model": "e", "input": ["a", "b", "a"]})
        rows = [row["embedding"] for row in answer.json()["data"]]
    assert rows[0] == rows[2] != rows[1]
