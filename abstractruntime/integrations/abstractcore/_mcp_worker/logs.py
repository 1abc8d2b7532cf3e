"""One line in and one line out per request, on stderr (`spec/04 §14.4`).

Tokens and query strings never appear, and of a call's arguments only the names, unless
`McpWorkerState.log_values` is ``all``. What a client sent can't break a line or move a terminal's cursor.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

from .rpc import Answer
from .state import LogValues

__all__ = ["event", "http_part", "received", "request_part", "result_part", "returned"]

_PREVIEW_CHARS = 500
_COLOURS = {"RECEIVING_COMMANDS": "\x1b[36m", "RETURNING_RESULTS": "\x1b[32m"}
_RESET = "\x1b[0m"
_CONTROLS = (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_ESCAPES = {code: chr(code).encode("unicode_escape").decode("ascii") for code in _CONTROLS}

# Lines of different threads never mix.
_line_lock = threading.Lock()


def received(what: str) -> None:
    """A request came in."""
    _write("RECEIVING_COMMANDS", what)


def returned(what: str) -> None:
    """A request was answered, or needed no answer."""
    _write("RETURNING_RESULTS", what)


def event(kind: str, what: str) -> None:
    """Something that belongs to no request, such as a connection that was lost before one came."""
    _write(kind, what)


def _write(kind: str, what: str) -> None:
    stream = sys.stderr
    if stream is None:  # started without one
        return
    head = f"[{kind}]"
    # Whoever reads the log may be gone; tools are served all the same, and there is nowhere left to tell it.
    with _line_lock, suppress(OSError, ValueError):
        if stream.isatty():
            head = f"{_COLOURS.get(kind, '')}{head}{_RESET}"
        line = f"{head} {datetime.now():%H:%M:%S} {_printable(what)}\n"
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


def _printable(text: str) -> str:
    return text.translate(_ESCAPES)


def _preview(text: str) -> str:
    return text if len(text) <= _PREVIEW_CHARS else text[:_PREVIEW_CHARS] + "…"


def request_part(req: object, values: LogValues) -> str:
    """``rpc method=... id=...``, for a call with the tool's name and its arguments' names."""
    if not isinstance(req, dict):
        return f"rpc method=null id=null type={type(req).__name__}"
    part = f"rpc method={_word(req.get('method'))} id={_word(req.get('id'))}"
    params = req.get("params")
    if req.get("method") != "tools/call" or not isinstance(params, dict):
        return part
    return f"{part} name={_word(params.get('name'))} args={_arguments(params.get('arguments'), values)}"


def _arguments(arguments: object, values: LogValues) -> str:
    if values != "all" and isinstance(arguments, dict):
        arguments = list(arguments)
    elif values != "all" and arguments is not None:
        return type(arguments).__name__
    return _preview(json.dumps(arguments, ensure_ascii=False))


def _word(value: object) -> str:
    return _preview(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def result_part(answer: Answer | None, values: LogValues) -> str:
    """``rpc_result ...`` or ``rpc_error ...``."""
    if answer is None:
        return "no answer"
    error = answer.get("error")
    if error is not None:
        return f"rpc_error code={error['code']} message={_preview(error['message'])}"
    result: dict[str, Any] = answer["result"]
    if "tools" in result:
        names = ",".join(tool["name"] for tool in result["tools"])
        return f"rpc_result tools_count={len(result['tools'])} names={_preview(names)}"
    if "isError" in result:
        return f"rpc_result isError={json.dumps(result['isError'])} preview={_outcome(result, values)}"
    return "rpc_result"


def _outcome(result: dict[str, Any], values: LogValues) -> str:
    text: str = result["content"][0]["text"]
    return f"({len(text)} characters)" if values == "none" else _preview(text)


def http_part(environ: Mapping[str, Any]) -> str:
    """``http POST /path from=... origin=... auth=present ...``: neither query string nor token."""
    has_auth = environ.get("HTTP_AUTHORIZATION") or environ.get("HTTP_X_ABSTRACT_WORKER_TOKEN")
    fields = {
        "from": environ.get("REMOTE_ADDR"),
        "origin": environ.get("HTTP_ORIGIN"),
        "auth": "present" if has_auth else "missing",
        "content_length": environ.get("CONTENT_LENGTH"),
        "ua": environ.get("HTTP_USER_AGENT"),
    }
    shown = " ".join(f"{name}={_preview(str(value))}" for name, value in fields.items() if value)
    path = _preview(str(environ.get("PATH_INFO") or "/"))
    return f"http {environ.get('REQUEST_METHOD', '')} {path} {shown}"
