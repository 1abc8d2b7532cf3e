"""The HTTP transport over real sockets on loopback: good, slow, huge, cut and malformed requests."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from abstractruntime.integrations.abstractcore._mcp_worker.http_server import McpHttpServer
from abstractruntime.integrations.abstractcore.mcp_worker import build_wsgi_app
from tests.poll import eventually

from .own_tools import state_of
from .processes import REAL, WorkerProcess

PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


@contextmanager
def serving(*, request_within_s: float = 30.0, max_connections: int = 64, **fields: Any) -> Iterator[str]:
    app = build_wsgi_app(state=state_of(**fields))
    server = McpHttpServer(
        "127.0.0.1", 0, app, request_within_s=request_within_s, max_connections=max_connections
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    with server.closing(grace_s=10):
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join(timeout=30)


@pytest.fixture
def url() -> Iterator[str]:
    with serving(max_request_bytes=100_000) as where:
        yield where


def connected(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def raw(url: str, sent: bytes, *, then_close_writing: bool = True) -> bytes:
    """What comes back until the server closes."""
    with connected(url) as connection:
        connection.sendall(sent)
        if then_close_writing:
            connection.shutdown(socket.SHUT_WR)
        return _all(connection)


def _all(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def post(body: bytes, *, length: int | None = None, more: bytes = b"") -> bytes:
    size = len(body) if length is None else length
    return b"POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (more, size, body)


def test_bytes_of_a_request_and_its_answer(url: str) -> None:
    response = raw(url, post(b'{"jsonrpc":"2.0","id":1,"method":"ping"}'), then_close_writing=False)
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n"
    assert body == b'{"jsonrpc": "2.0", "id": 1, "result": {}}'


def test_notifications_get_202(url: str) -> None:
    response = raw(url, post(b'{"jsonrpc":"2.0","method":"notifications/initialized"}'))
    assert status(response) == 202
    assert response.endswith(b"\r\n\r\n")


def test_get_and_delete_get_405(url: str) -> None:
    for method in ("GET", "DELETE", "OPTIONS", "HEAD"):
        response = httpx.request(method, f"{url}/mcp?x=1")
        assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_split_body_is_put_together(url: str) -> None:
    body = json.dumps(call("echo", text="ü" * 500), ensure_ascii=False).encode()
    sent = post(body)
    with connected(url) as connection:
        for start in range(0, len(sent), 97):
            connection.sendall(sent[start : start + 97])
        response = _all(connection)
    answer = json.loads(response.partition(b"\r\n\r\n")[2])
    assert answer["result"]["content"][0]["text"] == "ü" * 500


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.parametrize("size", [100_001, 20_000_000])
def test_a_huge_body_is_refused_and_the_client_sees_it(url: str, size: int) -> None:
    response = httpx.post(url, content=b"x" * size, timeout=30)
    assert response.status_code == 413
    assert response.json()["error"]["message"] == "Invalid Request: the body is longer than 100000 bytes"
    # Simple clients send everything before they read: that must not fail either.
    assert status(raw(url, post(b"x" * size))) == 413


def test_a_huge_claim_is_refused_before_anything_is_sent(url: str) -> None:
    assert status(raw(url, post(b"", length=10**18), then_close_writing=False)) == 413


@pytest.mark.weakness("spec/04 §16.17")
def test_slow_requests_end_at_the_deadline() -> None:
    with serving(request_within_s=0.3) as url:
        slow_body = post(b'{"jsonrpc"', length=100)
        assert status(raw(url, slow_body, then_close_writing=False)) == 408
        # Neither a slow head nor a silent connection is answered: it is closed.
        assert raw(url, b"POST / HTTP/1.1\r\nHo", then_close_writing=False) == b""
        assert raw(url, b"", then_close_writing=False) == b""
        assert httpx.post(url, json=PING).status_code == 200


@pytest.mark.weakness("spec/04 §16.17")
def test_a_byte_now_and_then_does_not_keep_a_connection_open() -> None:
    with serving(request_within_s=0.5) as url, connected(url) as connection:
        connection.sendall(post(b"", length=10_000_000))
        drips = 0

        def dripped_until_answered() -> bytes:
            nonlocal drips
            connection.settimeout(0.05)
            connection.sendall(b" ")
            drips += 1
            try:
                return connection.recv(65536)
            except TimeoutError:
                return b""

        assert status(eventually(dripped_until_answered, timeout=20)) == 408
        assert drips > 2


def test_a_body_that_is_cut_off(url: str) -> None:
    assert status(raw(url, post(b'{"jsonrpc"', length=100))) == 400


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/9.9\r\n\r\n", 505),
        (b"GET " + b"/" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
        (b"POST / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n\r\n", 400),
        (b"{}\r\n", 400),
    ],
)
def test_malformed_requests(url: str, sent: bytes, expected: int, capfd: pytest.CaptureFixture[str]) -> None:
    assert status(raw(url, sent)) == expected
    assert httpx.post(url, json=PING).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_client_that_vanishes_disturbs_nobody(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    for sent in (b"", b"POST /", post(b"{", length=50), post(json.dumps(PING).encode())):
        connection = connected(url)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # close = reset
        connection.sendall(sent)
        connection.close()
    assert httpx.post(url, json=PING).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_requests_are_served_side_by_side(url: str, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    answers: list[httpx.Response] = []
    waiting = threading.Thread(
        target=lambda: answers.append(
            httpx.post(url, json=call("touch_and_wait", path=str(flag)), timeout=60)
        )
    )
    waiting.start()
    eventually(flag.exists)
    assert httpx.post(url, json=PING).status_code == 200
    flag.unlink()
    waiting.join(timeout=60)
    assert answers[0].json()["result"]["content"][0]["text"] == "done"


def test_more_connections_than_places_wait_their_turn() -> None:
    with serving(max_connections=2, request_within_s=0.2) as url:
        idle = [connected(url) for _ in range(2)]
        assert httpx.post(url, json=PING, timeout=30).status_code == 200
        for connection in idle:
            connection.close()


def test_variables_of_the_process_are_no_headers(tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")
    arguments = (*REAL, "--transport=http", "--port=0", "--toolsets=web", "--http-auth-token=right")
    env = {"HTTP_AUTHORIZATION": "Bearer right", "HTTP_X_ABSTRACT_WORKER_TOKEN": "right"}
    with WorkerProcess(*arguments, log=tmp_path / "stderr", env=env) as worker:
        url = worker.url()
        assert httpx.post(url, json=PING).status_code == 401
        assert httpx.post(url, json=PING, headers={"X-Abstract-Worker-Token": "right"}).status_code == 200


def log_lines(text: str) -> list[str]:
    """The lines, without what depends on the clock."""
    timeless = re.sub(r"\d\d:\d\d:\d\d", "TIME", text)
    return re.sub(r"elapsed_s=\d+\.\d\d\b", "elapsed_s=SECONDS", timeless).splitlines()


@pytest.mark.weakness("spec/04 §16.18")
def test_logs_have_one_line_each_way_and_no_secrets(capfd: pytest.CaptureFixture[str]) -> None:
    with serving(http_auth_token="s3cret", http_allowed_origins=("https://a.example",)) as url:
        headers = {"Authorization": "Bearer s3cret", "User-Agent": "me", "Origin": "https://a.example"}
        message = call("echo", text="private argument " * 100)
        httpx.post(f"{url}/mcp?key=s3cret2", json=message, headers=headers)
        httpx.post(
            f"{url}/mcp", json=PING, headers={"Authorization": "Bearer s3cret-not", "User-Agent": "me"}
        )
        httpx.get(f"{url}/mcp", headers={**headers, "Origin": "https://b.example\x1b[31m"})
    lines = log_lines(capfd.readouterr().err)
    assert len(lines) == 6
    size = len(json.dumps(message, separators=(",", ":")))
    assert lines[0] == (
        "[RECEIVING_COMMANDS] TIME http POST /mcp from=127.0.0.1 origin=https://a.example auth=present "
        f'content_length={size} ua=me rpc method=tools/call id=1 name=echo args=["text"]'
    )
    preview = ("private argument " * 100)[:500] + "…"
    assert lines[1] == (
        "[RETURNING_RESULTS] TIME http status=200 elapsed_s=SECONDS rpc_result isError=false "
        f"preview={preview}"
    )
    assert lines[2].endswith(
        f"auth=present content_length={len(json.dumps(PING, separators=(',', ':')))} ua=me"
    )
    assert lines[3].endswith("http status=401 elapsed_s=SECONDS rpc_error code=-32001 message=Unauthorized")
    assert "origin=https://b.example\\x1b[31m auth=present" in lines[4]
    assert lines[5].endswith(
        "status=403 elapsed_s=SECONDS rpc_error code=-32000 message=Forbidden: invalid Origin"
    )
    assert not any("s3cret" in line for line in lines)


def test_requests_that_are_no_http_are_logged(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    raw(url, b"nonsense \x1b[2J\r\n\r\n")
    (line,) = log_lines(eventually(lambda: capfd.readouterr().err))
    assert line.startswith("[BAD_REQUEST] TIME http from=127.0.0.1 code 400")
    assert "\x1b" not in line


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_requests_finish(how: signal.Signals, tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="needs abstractruntime[mcp-worker]")
    log, target = tmp_path / "stderr", tmp_path / "begun"
    with WorkerProcess(*REAL, "--transport=http", "--port=0", "--toolsets=system", log=log) as worker:
        url = worker.url()
        assert httpx.post(url, json=PING).status_code == 200
        command = f"touch {target}; while [ -e {target} ]; do sleep 0.05; done; echo finished"
        answers: list[httpx.Response] = []
        message = call("execute_command", command=command)
        caller = threading.Thread(target=lambda: answers.append(httpx.post(url, json=message, timeout=60)))
        caller.start()
        eventually(target.exists)
        os.kill(worker.process.pid, how)
        eventually(lambda: _is_refused(url))
        target.unlink()
        caller.join(timeout=60)
        assert answers[0].json()["result"]["structuredContent"]["stdout"].strip() == "finished"
        assert worker.process.wait(timeout=30) == 0
        assert "[STOPPED]" in worker.log
        assert "Traceback" not in worker.log


def _is_refused(url: str) -> bool:
    try:
        connected(url).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # it was in the queue of a socket that was closed just then
        return False
    return False
