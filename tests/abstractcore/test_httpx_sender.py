"""Pooled connections to a real server on loopback (`spec/04 §5`, §16.21)."""

from __future__ import annotations

import multiprocessing
import os
import threading
from datetime import datetime, timezone
from multiprocessing.connection import Connection

import pytest

httpx = pytest.importorskip("httpx", reason="the sender's HTTP library")

from abstractruntime.core.errors import RuntimeFault  # noqa: E402
from abstractruntime.integrations.abstractcore._clients.http_errors import retry_after_seconds  # noqa: E402
from abstractruntime.integrations.abstractcore.llm_client import (  # noqa: E402
    HttpxRequestSender,
    RemoteAbstractCoreLLMClient,
)
from tests.abstractcore.openai_server import Answer, OpenAIServer, tool_call  # noqa: E402


def client_of(server: OpenAIServer, **more: float) -> RemoteAbstractCoreLLMClient:
    return RemoteAbstractCoreLLMClient(server_base_url=server.url, model="echo-1", **more)


def test_a_call_over_http() -> None:
    with OpenAIServer() as server:
        server.script(
            Answer(
                "done",
                tool_calls=[tool_call("add", {"a": 1}, "c1")],
                reasoning="hm",
                headers={"X-AbstractCore-Trace-Id": "trace-1"},
            )
        )
        client = client_of(server)
        result = client.generate(
            prompt="hello", messages=[{"role": "user", "content": "before"}], params={"max_output_tokens": 9}
        )
        client.close()
        sent = server.completions[0]
    assert [message["content"].split("] ")[-1] for message in sent.messages] == ["before", "hello"]
    assert sent.body["max_tokens"] == 9
    assert result["content"] == "done"
    assert result["tool_calls"] == [{"name": "add", "arguments": {"a": 1}, "call_id": "c1"}]
    assert (result["reasoning"], result["trace_id"]) == ("hm", "trace-1")


@pytest.mark.weakness("spec/04 §16.21")
def test_calls_share_connections() -> None:
    with OpenAIServer() as server:
        client = client_of(server)
        for _ in range(5):
            client.generate(prompt="x")
        assert server.connections == 1
        client.close()
        client.generate(prompt="x")
        client.close()
    assert server.connections == 2


@pytest.mark.weakness("spec/04 §16.21")
def test_threads_share_a_pool_and_no_more_than_its_size() -> None:
    with OpenAIServer() as server:
        sender = HttpxRequestSender(max_connections=2)
        client = RemoteAbstractCoreLLMClient(server_base_url=server.url, model="m", request_sender=sender)
        threads = [threading.Thread(target=client.generate, kwargs={"prompt": "x"}) for _ in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        client.close()
    assert len(server.completions) == 12
    assert server.connections <= 2


@pytest.mark.weakness("spec/04 §16.21")
def test_a_refusal_says_what_the_server_said_and_when_to_come_again() -> None:
    with OpenAIServer() as server:
        server.script(Answer.error(429, "too many requests", headers={"Retry-After": "7"}))
        client = client_of(server)
        with pytest.raises(RuntimeFault) as raised:
            client.generate(prompt="x")
        client.close()
    assert isinstance(raised.value, httpx.HTTPStatusError)
    assert str(raised.value) == (
        f"HTTP 429 from {server.url}/v1/chat/completions: too many requests (retry after 7 s)"
    )
    assert (raised.value.status_code, raised.value.retry_after_s) == (429, 7.0)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("status", "body"), [(500, {"detail": "broken"}), (503, ["broken"]), (302, "broken")]
)
def test_everything_but_2xx_fails(status: int, body: object) -> None:
    with OpenAIServer() as server:
        server.script(Answer(status=status, body=body))
        client = client_of(server)
        with pytest.raises(httpx.HTTPStatusError, match=f"HTTP {status} .*broken"):
            client.generate(prompt="x")
        client.close()


@pytest.mark.parametrize("timeout", [None, 0, -1.0])
def test_no_timeout_is_no_limit(timeout: float | None) -> None:
    with OpenAIServer() as server:
        sender = HttpxRequestSender()
        body = {"model": "echo-1", "messages": [{"role": "user", "content": "x"}]}
        answer = sender.post(f"{server.base_url}/chat/completions", headers={}, json=body, timeout=timeout)
        sender.close()
    assert answer.body["choices"][0]["message"]["content"] == "echo: x"


def test_a_timeout_ends_the_wait() -> None:
    release = threading.Event()
    with OpenAIServer() as server:
        server.script(Answer("late", before=lambda: release.wait(20)))
        client = client_of(server, timeout_s=0.2)
        with pytest.raises(httpx.ReadTimeout):
            client.generate(prompt="x")
        release.set()
        client.close()


def test_a_server_that_is_not_there() -> None:
    with OpenAIServer() as server:
        url = server.url
    client = RemoteAbstractCoreLLMClient(server_base_url=url, model="m")
    with pytest.raises(httpx.ConnectError):
        client.generate(prompt="x")
    client.close()


def test_an_answer_that_never_comes() -> None:
    with OpenAIServer() as server:
        server.script(Answer(drop=True))
        client = client_of(server)
        with pytest.raises(httpx.TransportError):
            client.generate(prompt="x")
        assert client.generate(prompt="again")["content"].endswith("again")
        client.close()


def _ask(client: RemoteAbstractCoreLLMClient, answers: Connection) -> None:
    answers.send((os.getpid(), client.generate(prompt="from the child")["content"]))


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_opens_connections_of_its_own() -> None:
    """Celery's workers fork: two processes on one connection would read each other's answers."""
    context = multiprocessing.get_context("fork")
    with OpenAIServer() as server:
        client = client_of(server)
        client.generate(prompt="x")
        here, there = context.Pipe()
        child = context.Process(target=_ask, args=(client, there))
        child.start()
        assert here.poll(30)
        _, answer = here.recv()
        child.join(30)
        client.generate(prompt="y")
        client.close()
    assert answer.endswith("from the child")
    assert [request.connection for request in server.completions] == [1, 2, 1]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("Sat, 28 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 28 Nov 2026 11:00:00 GMT", 0.0),
        ("soon", None),
        ("-3", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    now = datetime(2026, 11, 28, 12, tzinfo=timezone.utc)
    assert retry_after_seconds(value, now=lambda: now) == seconds
