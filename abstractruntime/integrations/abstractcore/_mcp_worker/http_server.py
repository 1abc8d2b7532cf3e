"""Serves the WSGI application on threads of the standard library's own HTTP server.

What can hurt it is bounded: how long a request may take to come in and an answer to go out, how many
connections are open at once, and (by the application) how long a body is.
"""

from __future__ import annotations

import io
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import cast
from wsgiref.simple_server import ServerHandler, WSGIRequestHandler, WSGIServer

from . import logs
from .wsgi import WsgiApp

__all__ = ["McpHttpServer"]

REQUEST_WITHIN_S = 30.0
ANSWER_WITHIN_S = 60.0
MAX_CONNECTIONS = 64

# A client that is still sending when it is refused gets to see the answer: what it sends is thrown away, but
# not for ever.
_LINGER_S = 2.0
_LINGER_CHUNK = 64 * 1024


class _TimedInput(io.RawIOBase):
    """A connection's input up to a deadline: to send a byte now and then does not keep it open."""

    def __init__(self, connection: socket.socket, within_s: float) -> None:
        self._connection = connection
        self._deadline = time.monotonic() + within_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the request did not come in time")
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _WsgiHandler(ServerHandler):
    # Otherwise a variable HTTP_AUTHORIZATION of this process would pass for a header of every client.
    os_environ: dict[str, str] = {}  # noqa: RUF012 (never changed; the base class copies it)

    def __init__(self, request: _RequestHandler) -> None:
        # One process, several threads: the application may be called again before it has returned.
        super().__init__(
            request.rfile,
            request.wfile,  # type: ignore[arg-type] # as WSGIRequestHandler itself passes it
            sys.stderr,
            request.get_environ(),
        )
        self.request_handler = request

    def finish_response(self) -> None:
        self.request_handler.connection.settimeout(ANSWER_WITHIN_S)
        super().finish_response()


class _RequestHandler(WSGIRequestHandler):
    """One connection, one request (HTTP/1.0: no keep-alive), logged by the application alone."""

    server: McpHttpServer
    # What is no HTTP at all gets a status line all the same.
    default_request_version = "HTTP/1.0"

    def setup(self) -> None:
        super().setup()
        self.rfile.close()
        self.rfile = io.BufferedReader(_TimedInput(self.connection, self.server.request_within_s))

    def handle(self) -> None:
        self.raw_requestline = self.rfile.readline(65537)
        if len(self.raw_requestline) > 65536:
            self.requestline, self.request_version, self.command = "", "", ""
            self.send_error(414)
            return
        if not self.raw_requestline or not self.parse_request():
            return
        _WsgiHandler(self).run(self.server.get_app())  # type: ignore[arg-type]

    def address_string(self) -> str:
        return str(self.client_address[0])  # no look-up of names

    def log_message(self, format: str, *args: object) -> None:
        """Requests are logged by the application; this only hears of those that never reached it."""

    def log_error(self, format: str, *args: object) -> None:
        logs.event("BAD_REQUEST", f"http from={self.address_string()} {format % args}")


class McpHttpServer(socketserver.ThreadingMixIn, WSGIServer):
    """Listens from construction on; `serve_forever` answers, each connection in a thread.

    Args:
        host, port: where to listen; port 0 takes a free one, `url` tells which.
        app: answers the requests.
        request_within_s: seconds for a whole request to come in.
        max_connections: connections served at once; more wait until one is done.

    Raises:
        OSError: it can't listen there.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(
        self,
        host: str,
        port: int,
        app: WsgiApp,
        *,
        request_within_s: float = REQUEST_WITHIN_S,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        family, address = _address(host, port)
        self.address_family = family
        self.request_within_s = request_within_s
        self._free = threading.Semaphore(max_connections)
        self._active = 0
        self._changed = threading.Condition()
        super().__init__(address, _RequestHandler)
        self.set_app(app)

    def server_bind(self) -> None:
        # Not HTTPServer's: that one asks the resolver for the host's full name, which can take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]
        self.setup_environ()

    @property
    def url(self) -> str:
        """Where it listens."""
        host = str(self.server_address[0])
        shown = f"[{host}]" if ":" in host else host
        return f"http://{shown}:{self.server_port}"

    def process_request(self, request: object, client_address: object) -> None:
        self._free.acquire()
        with self._changed:
            self._active += 1
        try:
            super().process_request(request, client_address)  # type: ignore[arg-type]
        except BaseException:  # no thread was started that would give the place back
            self._done()
            raise

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            self._done()

    def _done(self) -> None:
        self._free.release()
        with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def shutdown_request(self, request: object) -> None:
        assert isinstance(request, socket.socket)
        with suppress(OSError):  # the client is gone already
            request.shutdown(socket.SHUT_WR)
            _discard(request)
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """What a connection died of; the server serves on."""
        error = sys.exc_info()[1]
        where = client_address[0] if isinstance(client_address, tuple) else client_address
        logs.event("CONNECTION_LOST", f"http from={where} {type(error).__name__}: {error}")

    @contextmanager
    def closing(self, *, grace_s: float) -> Iterator[None]:
        """Afterwards: listens no more, and has waited so many seconds at most for the requests under way."""
        try:
            yield
        finally:
            self.server_close()
            with self._changed:
                self._changed.wait_for(lambda: self._active == 0, timeout=grace_s)


def _discard(connection: socket.socket) -> None:
    deadline = time.monotonic() + _LINGER_S
    while (left := deadline - time.monotonic()) > 0:
        connection.settimeout(left)
        if not connection.recv(_LINGER_CHUNK):
            return


def _address(host: str, port: int) -> tuple[socket.AddressFamily, tuple[str, int]]:
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name such as localhost may stand for both; more clients try IPv4.
    family, _, _, _, address = min(found, key=lambda each: each[0] != socket.AF_INET)
    return family, cast("tuple[str, int]", address)  # IPv6 has two more numbers, which bind() takes too
