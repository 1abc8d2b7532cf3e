"""The HTTP transport as a WSGI application: streamable HTTP without streams (`spec/04 §14.3`).

Every request is a POST with one JSON-RPC message and is answered at once with JSON; there are no sessions and
no server-sent events, so GET and DELETE get 405, as the protocol wants it then.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from . import logs
from .rpc import (
    FAILED,
    INVALID_REQUEST,
    PARSE_ERROR,
    PROTOCOLS,
    UNAUTHORIZED,
    Answer,
    encoded,
    error_answer,
    handle_mcp_request,
    parsed,
)
from .state import McpWorkerState

__all__ = ["Environ", "StartResponse", "WsgiApp", "build_wsgi_app"]

Environ = dict[str, Any]
StartResponse = Callable[..., object]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

_REASONS = {
    200: "OK",
    202: "Accepted",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    500: "Internal Server Error",
}


@dataclass(frozen=True)
class _Reply:
    status: int
    answer: Answer | None = None
    text: str | None = None
    headers: tuple[tuple[str, str], ...] = ()


def build_wsgi_app(*, state: McpWorkerState) -> WsgiApp:
    """A WSGI application that serves the state on every path; thread-safe, for any WSGI server.

    Answers, in this order: 403 for an ``Origin`` that is not allowed, 500 if authentication is on without a
    token, 401 for a wrong or missing token, 405 for anything but POST, 411, 400, 408 or 413 for a body that
    has no length, is cut, too slow or too long, 400 for what is no JSON or asks for a protocol revision that
    is not served, 202 without body for notifications, else 200 with the JSON-RPC answer.
    """

    def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        started = time.monotonic()
        reply = _reply(environ, state)
        body, headers = _rendered(reply)
        logs.returned(
            f"http status={reply.status} elapsed_s={time.monotonic() - started:.2f} "
            f"{logs.result_part(reply.answer, state.log_values)}"
        )
        start_response(f"{reply.status} {_REASONS[reply.status]}", headers)
        return [body] if body else []

    return app


def _reply(environ: Environ, state: McpWorkerState) -> _Reply:
    """Judges and serves one request; logs that it came in exactly once."""
    refusal = _refusal(environ, state)
    body = b"" if refusal else _body(environ, state.max_request_bytes)
    request: object = None
    if isinstance(body, _Reply):
        refusal = body
    elif refusal is None:
        try:
            request = parsed(body)
        except ValueError:
            refusal = _Reply(400, error_answer(None, PARSE_ERROR, "Parse error"))
    if refusal is not None:
        logs.received(logs.http_part(environ))
        return refusal
    logs.received(f"{logs.http_part(environ)} {logs.request_part(request, state.log_values)}")
    refusal = _unserved_revision(environ, request)
    if refusal is not None:
        return refusal
    # Over HTTP what is no object gets the same answer as an object without `jsonrpc` (spec/04 §14.3).
    answer = handle_mcp_request(req=request if isinstance(request, dict) else {}, state=state)
    return _Reply(202) if answer is None else _Reply(200, answer)


def _refusal(environ: Environ, state: McpWorkerState) -> _Reply | None:
    """Who may not call, judged before anything of the body is read."""
    origin = environ.get("HTTP_ORIGIN")
    # A browser sends the origin of the page; unless that is allowed, any web page could drive the tools.
    if origin and origin not in state.http_allowed_origins:
        return _Reply(403, error_answer(None, FAILED, "Forbidden: invalid Origin"))
    token = state.http_auth_token
    if state.http_require_auth and not token:
        message = "Server misconfigured: auth enabled but no token set"
        return _Reply(500, error_answer(None, FAILED, message))
    if token and not _has_token(environ, token):
        return _Reply(
            401,
            error_answer(None, UNAUTHORIZED, "Unauthorized"),
            headers=(("WWW-Authenticate", "Bearer"),),
        )
    if environ.get("REQUEST_METHOD") != "POST":
        return _Reply(405, text="method not allowed", headers=(("Allow", "POST"),))
    return None


def _has_token(environ: Environ, token: str) -> bool:
    scheme, _, bearer = str(environ.get("HTTP_AUTHORIZATION") or "").strip().partition(" ")
    offered = [str(environ.get("HTTP_X_ABSTRACT_WORKER_TOKEN") or "").strip()]
    if scheme.lower() == "bearer":
        offered.append(bearer.strip())
    wanted = token.encode("utf-8")
    # WSGI hands bytes over as Latin-1 text. Compared in constant time, so that nobody can guess bit by bit.
    matches = [hmac.compare_digest(each.encode("latin-1", "replace"), wanted) for each in offered]
    return any(matches)


def _body(environ: Environ, limit: int) -> bytes | _Reply:
    if environ.get("HTTP_TRANSFER_ENCODING"):
        return _bad_body(411, "send a Content-Length; chunked bodies are not read")
    text = str(environ.get("CONTENT_LENGTH") or "0").strip()
    if not (text.isascii() and text.isdigit()):
        return _bad_body(400, "the Content-Length is no number")
    # Compared as text first: int() of a text of thousands of digits is slow, and refused by newer Pythons.
    if len(text.lstrip("0")) > len(str(limit)) or int(text) > limit:
        return _bad_body(413, f"the body is longer than {limit} bytes")
    length = int(text)
    try:
        body: bytes = environ["wsgi.input"].read(length) if length else b""
    except TimeoutError:
        return _bad_body(408, "the body did not come in time")
    except OSError as lost:
        return _bad_body(400, f"the body can't be read: {lost}")
    if len(body) < length:
        return _bad_body(400, f"the body ends after {len(body)} of {length} bytes")
    return body


def _bad_body(status: int, what: str) -> _Reply:
    return _Reply(status, error_answer(None, INVALID_REQUEST, f"Invalid Request: {what}"))


def _unserved_revision(environ: Environ, request: object) -> _Reply | None:
    """The protocol's rule for the header that follows `initialize`; `initialize` itself negotiates."""
    revision = environ.get("HTTP_MCP_PROTOCOL_VERSION")
    if not revision or revision in PROTOCOLS:
        return None
    if isinstance(request, dict) and request.get("method") == "initialize":
        return None
    what = f"MCP-Protocol-Version {revision!r} is not served; use one of {', '.join(PROTOCOLS)}"
    return _bad_body(400, what)


def _rendered(reply: _Reply) -> tuple[bytes, list[tuple[str, str]]]:
    headers = list(reply.headers)
    if reply.answer is not None:
        body, kind = encoded(reply.answer), "application/json"
    elif reply.text is not None:
        body, kind = reply.text.encode("utf-8"), "text/plain"
    else:
        return b"", [*headers, ("Content-Length", "0")]
    return body, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers]
