"""The outside world of the example: a small HTTP service that honours idempotency keys.

    python service.py [PORT]        prints its URL; 0 (the default) picks a free port

POST /bookings and /receipts do something once per Idempotency-Key: a repeated call gets the first answer
again. GET /calls tells how often each key was sent, so that a test can see what really happened.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock
from time import sleep
from typing import Any

WORK_S = 0.02  # as long as a near-by service may take


class Books:
    """What the service remembers."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: dict[str, int] = {}
        self._answers: dict[str, dict[str, Any]] = {}

    def post(self, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        """Do it once per key; the answer is the same each time."""
        with self._lock:
            self._calls[key] = self._calls.get(key, 0) + 1
            entry = len(self._answers) + 1
            return self._answers.setdefault(key, {"entry": entry, "path": path, **body})

    def calls(self) -> dict[str, int]:
        """Number of calls per key."""
        with self._lock:
            return dict(self._calls)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Service

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers.get("Idempotency-Key")
        if self.path not in ("/bookings", "/receipts"):
            self._answer(404, {"error": f"no such path: {self.path}"})
        elif not key:
            self._answer(400, {"error": "send an Idempotency-Key"})
        else:
            sleep(WORK_S)
            self._answer(200, self.server.books.post(self.path, key, json.loads(body)))

    def do_GET(self) -> None:
        if self.path == "/calls":
            self._answer(200, self.server.books.calls())
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


class Service(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int) -> None:
        self.books = Books()
        super().__init__(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    service = Service(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    print(f"http://127.0.0.1:{service.server_port}", flush=True)
    service.serve_forever()
