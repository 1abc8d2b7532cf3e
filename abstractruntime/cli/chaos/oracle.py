"""The outside world: an HTTP service on loopback that records every call with its idempotency key.

    python -m abstractruntime.cli.chaos.oracle        prints its URL

POST /charge answers the same for the same key each time, and refuses the first call of a key that asks for
it (``"flaky": true``). GET /calls tells all calls, in order.
"""

from __future__ import annotations

import hashlib
import json
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

__all__ = ["Call", "Oracle", "receipt"]

Call = tuple[str, str, int, bool]
"""Key, run id, attempt, and whether it was accepted (not refused)."""

JsonObject = dict[str, object]


def receipt(name: str, n: int) -> str:
    """What the service gives for the ``n``-th charge to ``name``."""
    return hashlib.sha256(f"{name}:{n}".encode()).hexdigest()[:12]


class Oracle(ThreadingHTTPServer):
    """Listens on a free loopback port."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        self._lock = Lock()
        self._calls: list[Call] = []
        self._seen: set[str] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def record(self, key: str, run_id: str, attempt: int, *, flaky: bool) -> bool:
        """Remember a call; whether it is accepted."""
        with self._lock:
            accepted = not flaky or key in self._seen
            self._seen.add(key)
            self._calls.append((key, run_id, attempt, accepted))
            return accepted

    def calls(self) -> list[Call]:
        """All calls so far."""
        with self._lock:
            return list(self._calls)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Oracle

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        key = self.headers.get("Idempotency-Key", "")
        accepted = self.server.record(key, body["run_id"], body["attempt"], flaky=body["flaky"])
        if not accepted:
            self._answer(503, {"error": "not the first time"})
            return
        time.sleep(body["work_s"])
        self._answer(200, {"name": body["name"], "n": body["n"], "receipt": receipt(body["name"], body["n"])})

    def do_GET(self) -> None:
        self._answer(200, {"calls": self.server.calls()})

    def _answer(self, status: int, value: JsonObject) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: calls are recorded, not logged."""


if __name__ == "__main__":
    service = Oracle()
    print(service.url, flush=True)
    service.serve_forever()
