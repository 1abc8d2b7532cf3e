"""The outside world of the example: a model behind OpenAI's API, and the ledger of a bank.

    python outside.py [PORT]        prints its URL; 0 (the default) picks a free port

The model is no model: it follows the one plan that pays an invoice, from the messages it is sent. What
matters here is what happens around it. Both ends honour ``Idempotency-Key``, as payment services do: a
repeated request gets the first answer again. ``GET /calls`` tells how often each key came, and how often
something was done for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from typing import Any

MODEL = "gpt-4o"  # a name that AbstractCore knows as one that calls tools natively
INVOICES = {"A-17": {"to": "Blue Bakery", "amount": 240}, "B-02": {"to": "Night Cabs", "amount": 35}}


@dataclass
class Book:
    """What the service remembers.

    Attributes:
        on_request: called with the path before anything is done; tests stop a worker here.
    """

    on_request: Callable[[str], None] = lambda path: None
    lock: Any = field(default_factory=Lock)
    sent: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)

    def once(self, key: str, act: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do it once per key; the answer is the same each time."""
        with self.lock:
            if key not in self.answers:
                self.answers[key] = act()
                self.done[key] = self.done.get(key, 0) + 1
            return self.answers[key]

    def arrived(self, key: str) -> None:
        """A request of this key has come in."""
        with self.lock:
            self.sent[key] = self.sent.get(key, 0) + 1

    def calls(self) -> dict[str, dict[str, int]]:
        """``{"sent": {key: n}, "done": {key: n}}``"""
        with self.lock:
            return {"sent": dict(self.sent), "done": dict(self.done)}


def reply(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """The next assistant message: look the invoice up, pay it, and say so."""
    answers = [message for message in messages if message.get("role") == "tool"]
    task = next((str(m.get("content")) for m in messages if m.get("role") == "user"), "")
    number = next((number for number in INVOICES if number in task), "A-17")
    if not answers:
        return _call("call_1", "look_up_invoice", {"number": number})
    last = str(answers[-1].get("content"))
    if "rejected" in last:
        return {"role": "assistant", "content": f"Invoice {number} was not paid: {last}"}
    if len(answers) == 1:
        return _call("call_2", "pay_invoice", {"number": number, "amount": INVOICES[number]["amount"]})
    return {"role": "assistant", "content": f"Invoice {number} is paid: {last}"}


def _call(call_id: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function}],
    }


def completion(body: dict[str, Any]) -> dict[str, Any]:
    """The answer to ``POST /v1/chat/completions``."""
    message = reply(body.get("messages") or [])
    reason = "tool_calls" if message.get("tool_calls") else "stop"
    return {
        "id": "chatcmpl-example",
        "object": "chat.completion",
        "model": body.get("model", MODEL),
        "choices": [{"index": 0, "message": message, "finish_reason": reason}],
        "usage": {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30},
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Outside

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        acts: dict[str, Callable[[], dict[str, Any]]] = {
            "/v1/chat/completions": lambda: completion(body),
            "/payments": lambda: {"receipt": f"R-{body['number']}", **body},
        }
        act, key = acts.get(self.path), self.headers.get("Idempotency-Key")
        if act is None:
            self._answer(404, {"error": f"no such path: {self.path}"})
        elif not key:
            self._answer(400, {"error": "send an Idempotency-Key"})
        else:
            book = self.server.book
            book.arrived(key)
            answer = book.once(key, act)
            book.on_request(self.path)
            self._answer(200, answer)

    def do_GET(self) -> None:
        if self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif self.path == "/calls":
            self._answer(200, self.server.book.calls())
        elif self.path.startswith("/invoices/"):
            found = INVOICES.get(self.path.removeprefix("/invoices/"))
            self._answer(200 if found else 404, found or {"error": "no such invoice"})
        else:
            self._answer(404, {"error": f"no such path: {self.path}"})

    def _answer(self, status: int, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: the calls are counted, not logged."""


class Outside(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int = 0) -> None:
        self.book = Book()
        super().__init__(("127.0.0.1", port), Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that was killed hangs up: that is what the example is about."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"


if __name__ == "__main__":
    outside = Outside(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(outside.url, flush=True)
    outside.serve_forever()
