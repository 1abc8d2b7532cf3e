"""The HTTP transport as an application: every check, in its order (`spec/04 §14.3`)."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.mcp_worker import build_wsgi_app

from .own_tools import state_of

PING = b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}'


class Reply:
    def __init__(self, status: str, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status = int(status.split()[0])
        self.headers = {name.lower(): value for name, value in headers}
        self.body = body

    @property
    def error(self) -> tuple[int, str]:
        assert self.headers["content-type"] == "application/json"
        document = json.loads(self.body)
        assert (document["jsonrpc"], document["id"]) == ("2.0", None)
        return document["error"]["code"], document["error"]["message"]


def ask(body: bytes | None = PING, *, fields: dict[str, Any] | None = None, **environ: Any) -> Reply:
    content = body or b""
    full = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/any/path",
        "CONTENT_LENGTH": str(len(content)),
        "wsgi.input": io.BytesIO(content),
        **environ,
    }
    started: list[Any] = []
    parts = build_wsgi_app(state=state_of(**(fields or {})))(full, lambda *said: started.extend(said))
    return Reply(started[0], started[1], b"".join(parts))


def test_a_request_is_answered() -> None:
    reply = ask()
    assert (reply.status, json.loads(reply.body)) == (200, {"jsonrpc": "2.0", "id": 1, "result": {}})
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["content-length"] == str(len(reply.body))


ORIGIN = {"HTTP_ORIGIN": "https://app.example"}


@pytest.mark.parametrize(
    ("allowed", "status"),
    [((), 403), (("https://other.example",), 403), (("https://other.example", "https://app.example"), 200)],
)
def test_origins(allowed: tuple[str, ...], status: int) -> None:
    reply = ask(fields={"http_allowed_origins": allowed}, **ORIGIN)
    assert reply.status == status
    if status == 403:
        assert reply.error == (-32000, "Forbidden: invalid Origin")


def test_authentication_without_a_token_is_a_misconfiguration() -> None:
    reply = ask(fields={"http_require_auth": True})
    assert reply.status == 500
    assert reply.error == (-32000, "Server misconfigured: auth enabled but no token set")


TOKEN = {"http_require_auth": True, "http_auth_token": "tökén"}
RAW = "tökén".encode().decode("latin-1")  # as WSGI hands the bytes of UTF-8 over


@pytest.mark.parametrize(
    "headers",
    [
        {"HTTP_AUTHORIZATION": f"Bearer {RAW}"},
        {"HTTP_AUTHORIZATION": f"bEARER   {RAW} "},
        {"HTTP_X_ABSTRACT_WORKER_TOKEN": RAW},
        {"HTTP_AUTHORIZATION": "Basic eDp5", "HTTP_X_ABSTRACT_WORKER_TOKEN": RAW},
    ],
)
def test_the_token_opens(headers: dict[str, str]) -> None:
    assert ask(fields=TOKEN, **headers).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"HTTP_AUTHORIZATION": ""},
        {"HTTP_AUTHORIZATION": "Bearer"},
        {"HTTP_AUTHORIZATION": "Bearer wrong"},
        {"HTTP_AUTHORIZATION": RAW},
        {"HTTP_AUTHORIZATION": f"Basic {RAW}"},
        {"HTTP_AUTHORIZATION": f"Bearer {RAW}x"},
        {"HTTP_X_ABSTRACT_WORKER_TOKEN": "Bearer " + RAW},
        {"HTTP_X_ABSTRACT_WORKER_TOKEN": "\u20ac"},
    ],
)
def test_everything_else_does_not(headers: dict[str, str]) -> None:
    reply = ask(fields=TOKEN, **headers)
    assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.error == (-32001, "Unauthorized")


@pytest.mark.weakness("spec/04 §16.17")
def test_a_token_alone_implies_authentication() -> None:
    assert ask(fields={"http_auth_token": "t"}).status == 401
    assert ask(fields={"http_auth_token": "t"}, HTTP_AUTHORIZATION="Bearer t").status == 200


@pytest.mark.weakness("spec/04 §16.17")
def test_tokens_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    import hmac

    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(first: bytes, second: bytes) -> bool:
        compared.append((first, second))
        return real(first, second)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    ask(fields={"http_auth_token": "right"}, HTTP_AUTHORIZATION="Bearer wrong")
    assert (b"wrong", b"right") in compared


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS", "PUT", "HEAD", "post"])
def test_only_post(method: str) -> None:
    reply = ask(None, REQUEST_METHOD=method)
    assert (reply.status, reply.body) == (405, b"method not allowed")
    assert reply.headers["content-type"] == "text/plain"
    assert reply.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b'{"jsonrpc": NaN}', b"[" * 100_000])
def test_bad_json(body: bytes) -> None:
    reply = ask(body)
    assert (reply.status, reply.error) == (400, (-32700, "Parse error"))


@pytest.mark.weakness("spec/04 §16.30")
@pytest.mark.parametrize("body", [b"[]", b"[" + PING + b"]", b"1", b"null", b'"x"'])
def test_what_is_no_object(body: bytes) -> None:
    reply = ask(body)
    assert (reply.status, reply.error) == (200, (-32600, "Invalid Request: jsonrpc must be '2.0'"))


@pytest.mark.weakness("spec/04 §16.30")
@pytest.mark.parametrize(
    "message",
    [
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "method": "anything", "params": {}},
        {"jsonrpc": "2.0", "id": 4, "result": {}},
    ],
)
def test_notifications_are_accepted_without_a_body(message: dict[str, Any]) -> None:
    reply = ask(json.dumps(message).encode())
    assert (reply.status, reply.body) == (202, b"")
    assert reply.headers == {"content-length": "0"}


class Unread:
    def read(self, size: int = -1) -> bytes:
        raise AssertionError("nothing of the body may be read")


ALL_WRONG: dict[str, Any] = {
    **ORIGIN,
    "HTTP_AUTHORIZATION": "Bearer wrong",
    "REQUEST_METHOD": "GET",
    "CONTENT_LENGTH": "nonsense",
    "wsgi.input": Unread(),
}


def test_the_order_of_the_checks() -> None:
    fields: dict[str, Any] = {"http_require_auth": True}
    assert ask(fields=fields, **ALL_WRONG).status == 403
    fields["http_allowed_origins"] = ["https://app.example"]
    assert ask(fields=fields, **ALL_WRONG).status == 500
    fields["http_auth_token"] = "right"
    assert ask(fields=fields, **ALL_WRONG).status == 401
    environ = {**ALL_WRONG, "HTTP_AUTHORIZATION": "Bearer right"}
    assert ask(fields=fields, **environ).status == 405
    environ["REQUEST_METHOD"] = "POST"
    assert ask(fields=fields, **environ).status == 400


@pytest.mark.weakness("spec/04 §16.17")
@pytest.mark.parametrize("length", ["101", "9" * 5000, "000101", "1" + "0" * 30])
def test_a_body_over_the_cap_is_refused_unread(length: str) -> None:
    reply = ask(fields={"max_request_bytes": 100}, CONTENT_LENGTH=length, **{"wsgi.input": Unread()})
    assert reply.status == 413
    assert reply.error == (-32600, "Invalid Request: the body is longer than 100 bytes")


def test_a_body_up_to_the_cap_is_read() -> None:
    assert ask(PING.ljust(100), fields={"max_request_bytes": 100}).status == 200


@pytest.mark.parametrize("length", ["-1", "+5", "1.5", "x", "\u0661", "1 2"])
def test_a_length_that_is_no_number(length: str) -> None:
    reply = ask(CONTENT_LENGTH=length, **{"wsgi.input": Unread()})
    assert reply.status == 400
    assert "Content-Length" in reply.error[1]


def test_chunked_bodies_are_not_read() -> None:
    reply = ask(HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": Unread()})
    assert reply.status == 411


@pytest.mark.parametrize(
    ("error", "status"), [(TimeoutError("slow"), 408), (ConnectionResetError("gone"), 400)]
)
def test_a_body_that_does_not_come(error: Exception, status: int) -> None:
    class Failing:
        def read(self, size: int) -> bytes:
            raise error

    assert ask(**{"wsgi.input": Failing()}).status == status


def test_a_cut_body() -> None:
    reply = ask(CONTENT_LENGTH=str(len(PING) + 5))
    assert reply.status == 400
    assert f"ends after {len(PING)} of {len(PING) + 5} bytes" in reply.error[1]


@pytest.mark.weakness("spec/04 §16.17")
def test_the_revision_in_the_header() -> None:
    assert ask(HTTP_MCP_PROTOCOL_VERSION="2025-11-25").status == 200
    assert ask(HTTP_MCP_PROTOCOL_VERSION="2025-06-18").status == 200
    refused = ask(HTTP_MCP_PROTOCOL_VERSION="1999-01-01")
    assert refused.status == 400
    assert "'1999-01-01'" in refused.error[1]
    assert "2025-11-25" in refused.error[1]
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}}
    met = ask(json.dumps(hello).encode(), HTTP_MCP_PROTOCOL_VERSION="1999-01-01")
    assert json.loads(met.body)["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize("environ", [{}, {"CONTENT_LENGTH": ""}, {"PATH_INFO": ""}])
def test_servers_that_tell_little(environ: dict[str, str]) -> None:
    minimal: dict[str, Any] = {"REQUEST_METHOD": "GET", "wsgi.input": io.BytesIO(), **environ}
    started: list[Any] = []
    assert build_wsgi_app(state=state_of())(minimal, lambda *said: started.extend(said)) == [
        b"method not allowed"
    ]
