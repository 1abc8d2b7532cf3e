"""A small OpenAI-compatible HTTP server for tests: scripted answers over real sockets, on loopback only.

It speaks what AbstractCore's providers and our remote client ask (`spec/04 §15.2`): ``GET /v1/models``,
``POST /v1/chat/completions`` (whole and as SSE), ``POST /v1/embeddings``. Answers come from the script, in
order; when it is empty, from ``respond``; else the last user text is echoed.
"""

from __future__ import annotations

import hashlib
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Answer", "OpenAIServer", "RecordedRequest", "tool_call"]

EMBEDDING_DIMENSION = 8


def tool_call(name: str, arguments: dict[str, Any] | str, call_id: str = "call_1") -> dict[str, Any]:
    """A native tool call as providers send it."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": text}}


@dataclass
class Answer:
    """One answer of the server.

    Attributes:
        content: the message's text; ``None`` for none.
        tool_calls: made with `tool_call`.
        finish_reason: default ``tool_calls`` or ``stop``.
        reasoning: goes out as ``reasoning_content``.
        chunks: the pieces of a streamed content; default: word by word.
        usage: default: counted by words.
        status: anything but 200 goes out with ``body``, else with an ``error`` object.
        headers: more response headers.
        body: the whole body instead of a completion.
        before: called before the answer goes out; a delay, an event's or a barrier's ``wait``.
        before_chunk: called with the index of each streamed chunk before that goes out.
        drop: close the connection instead of answering.
    """

    content: str | None = ""
    tool_calls: Sequence[dict[str, Any]] = ()
    finish_reason: str | None = None
    reasoning: str | None = None
    chunks: Sequence[str] | None = None
    usage: dict[str, int] | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: Any = None
    before: Callable[[], object] | None = None
    before_chunk: Callable[[int], object] | None = None
    drop: bool = False

    @classmethod
    def of_json(cls, value: Any, **more: Any) -> Answer:
        """A structured answer: the value as JSON text."""
        return cls(content=json.dumps(value), **more)

    @classmethod
    def error(cls, status: int, message: str = "scripted failure", **more: Any) -> Answer:
        """A failing answer."""
        return cls(status=status, body={"error": {"message": message}}, **more)

    @property
    def reason(self) -> str:
        return self.finish_reason or ("tool_calls" if self.tool_calls else "stop")


@dataclass(frozen=True)
class RecordedRequest:
    """What a client sent. ``headers`` have lower-case names; ``body`` is the parsed JSON, ``{}`` for GET."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int

    @property
    def messages(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.body.get("messages") or []
        return found

    @property
    def last_user_text(self) -> str:
        texts = [message.get("content") for message in self.messages if message.get("role") == "user"]
        return str(texts[-1]) if texts else ""


class OpenAIServer:
    """Use as a context manager: ``with OpenAIServer(models=["echo-1"]) as server: ...``.

    Attributes:
        models: what ``GET /v1/models`` names.
        respond: makes an answer when the script is empty.
        requests: everything received, in order of arrival.
        sent_chunks: how many SSE chunks went out.
        hung_up: how many clients closed the connection while an answer was on its way.
    """

    def __init__(
        self,
        *,
        models: Iterable[str] = ("echo-1",),
        respond: Callable[[RecordedRequest], Answer] | None = None,
    ) -> None:
        self.models = list(models)
        self.respond = respond
        self.requests: list[RecordedRequest] = []
        self.sent_chunks = 0
        self.hung_up = 0
        self.connections = 0
        self._script: queue.Queue[Answer] = queue.Queue()
        self._arrived = threading.Condition()
        self._open: set[socket.socket] = set()
        self._http = _Http(self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> OpenAIServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        with self._arrived:
            for connection in self._open:  # idle ones would keep their threads for ever
                connection.shutdown(socket.SHUT_RDWR)
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """``http://127.0.0.1:<port>``, what `RemoteAbstractCoreLLMClient` takes."""
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def base_url(self) -> str:
        """The same with ``/v1``, what AbstractCore's providers take."""
        return f"{self.url}/v1"

    def script(self, *answers: Answer | str) -> None:
        """Give these answers to the next completions, in order."""
        for answer in answers:
            self._script.put(Answer(answer) if isinstance(answer, str) else answer)

    @property
    def completions(self) -> list[RecordedRequest]:
        """The chat completion requests so far."""
        return [request for request in list(self.requests) if request.path.endswith("/chat/completions")]

    def wait_for_completions(self, count: int, timeout: float = 10.0) -> None:
        """Return once that many completions were asked for.

        Raises:
            TimeoutError: they weren't in time.
        """
        with self._arrived:
            if not self._arrived.wait_for(lambda: len(self.completions) >= count, timeout):
                raise TimeoutError(f"{len(self.completions)} of {count} completions after {timeout} s")

    # -- called by the handler ------------------------------------------------------------------

    def opened(self, connection: socket.socket) -> int:
        with self._arrived:
            self._open.add(connection)
            self.connections += 1
            return self.connections

    def closed(self, connection: socket.socket) -> None:
        with self._arrived:
            self._open.discard(connection)

    def record(self, request: RecordedRequest) -> None:
        with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()

    def answer(self, request: RecordedRequest) -> Answer:
        try:
            return self._script.get_nowait()
        except queue.Empty:
            if self.respond is not None:
                return self.respond(request)
            return Answer(f"echo: {request.last_user_text}")


class _Http(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64

    def __init__(self, owner: OpenAIServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are counted; everything else is a bug of the test and is shown."""
        import sys

        if isinstance(sys.exc_info()[1], ConnectionError):
            self.owner.hung_up += 1
        else:
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def setup(self) -> None:
        super().setup()
        self.number = self.server.owner.opened(self.connection)

    def finish(self) -> None:
        self.server.owner.closed(self.connection)
        super().finish()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr."""

    def do_GET(self) -> None:
        self._record({})
        if self.path.split("?")[0].endswith("/models"):
            models = [{"id": name, "object": "model"} for name in self.server.owner.models]
            self._send(200, {"object": "list", "data": models})
        else:
            self._send(404, {"error": {"message": f"no {self.path}"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", "0"))) or b"{}")
        request = self._record(body)
        if request.path.endswith("/chat/completions"):
            self._complete(request, self.server.owner.answer(request))
        elif request.path.endswith("/embeddings"):
            self._send(200, _embeddings(body))
        else:
            self._send(404, {"error": {"message": f"no {self.path}"}})

    def _record(self, body: dict[str, Any]) -> RecordedRequest:
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = RecordedRequest(self.command, self.path, headers, body, self.number)
        self.server.owner.record(request)
        return request

    def _complete(self, request: RecordedRequest, answer: Answer) -> None:
        if answer.before is not None:
            answer.before()
        if answer.drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
        elif answer.status != 200 or answer.body is not None:
            body = answer.body if answer.body is not None else {"error": {"message": "scripted failure"}}
            self._send(answer.status, body, answer.headers)
        elif request.body.get("stream"):
            self._stream(request, answer)
        else:
            self._send(200, _completion(request, answer), answer.headers)

    def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, request: RecordedRequest, answer: Answer) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        for index, chunk in enumerate(_chunks(request, answer)):
            if answer.before_chunk is not None:
                answer.before_chunk(index)
            self._write_event(json.dumps(chunk))
            self.server.owner.sent_chunks += 1
        self._write_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _write_event(self, text: str) -> None:
        data = f"data: {text}\n\n".encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
        self.wfile.flush()


def _usage(request: RecordedRequest, answer: Answer) -> dict[str, int]:
    if answer.usage is not None:
        return answer.usage
    asked = sum(len(str(message.get("content", "")).split()) for message in request.messages)
    said = len((answer.content or "").split())
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def _completion(request: RecordedRequest, answer: Answer) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.content}
    if answer.tool_calls:
        message["tool_calls"] = list(answer.tool_calls)
    if answer.reasoning is not None:
        message["reasoning_content"] = answer.reasoning
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": request.body.get("model"),
        "choices": [{"index": 0, "message": message, "finish_reason": answer.reason}],
        "usage": _usage(request, answer),
    }


def _chunks(request: RecordedRequest, answer: Answer) -> list[dict[str, Any]]:
    deltas: list[dict[str, Any]] = []
    if answer.reasoning is not None:
        deltas.append({"reasoning_content": answer.reasoning})
    pieces = answer.chunks
    if pieces is None:
        pieces = [word for word in (answer.content or "").replace(" ", " \0").split("\0") if word]
    deltas.extend({"content": piece} for piece in pieces)
    if answer.tool_calls:
        calls = [{"index": index, **call} for index, call in enumerate(answer.tool_calls)]
        deltas.append({"tool_calls": calls})
    frame = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": request.body.get("model")}
    events = [{**frame, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in deltas]
    events.append({**frame, "choices": [{"index": 0, "delta": {}, "finish_reason": answer.reason}]})
    events.append({**frame, "choices": [], "usage": _usage(request, answer)})
    return events


def _embeddings(body: dict[str, Any]) -> dict[str, Any]:
    texts = body.get("input")
    rows = [
        {"object": "embedding", "index": index, "embedding": _vector(str(text))}
        for index, text in enumerate([texts] if isinstance(texts, str) else texts or [])
    ]
    usage = {"prompt_tokens": len(rows), "total_tokens": len(rows)}
    return {"object": "list", "model": body.get("model"), "data": rows, "usage": usage}


def _vector(text: str) -> list[float]:
    """The same text gives the same vector."""
    digest = hashlib.sha256(text.encode()).digest()
    return [byte / 255 for byte in digest[:EMBEDDING_DIMENSION]]
