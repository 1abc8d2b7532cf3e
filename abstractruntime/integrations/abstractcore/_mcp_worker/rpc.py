"""JSON-RPC of the MCP worker: one request in, one answer or none out (`spec/04 §14.3`).

Follows the revision 2025-11-25 of the Model Context Protocol. No session is kept: every request stands alone.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from abstractruntime import __version__
from abstractruntime.rendering import stringify_json

from .state import McpWorkerState

__all__ = [
    "FAILED",
    "INVALID_REQUEST",
    "LATEST_PROTOCOL",
    "PARSE_ERROR",
    "PROTOCOLS",
    "SERVER_NAME",
    "UNAUTHORIZED",
    "Answer",
    "encoded",
    "error_answer",
    "handle_mcp_request",
    "negotiated",
    "parsed",
]

_log = logging.getLogger(__name__)

Answer = dict[str, Any]

SERVER_NAME = "abstractruntime-mcp-worker"

LATEST_PROTOCOL = "2025-11-25"
PROTOCOLS = (LATEST_PROTOCOL, "2025-06-18", "2025-03-26", "2024-11-05")
"""What is served is the same in all of them, except that batches (2025-03-26 only) are refused."""

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
FAILED = -32000
UNAUTHORIZED = -32001


def handle_mcp_request(*, req: object, state: McpWorkerState) -> Answer | None:
    """The answer to one decoded message; ``None`` if it asks for none (a notification, or a response).

    Never raises for what a client sent or a tool did: those become error answers and failed results.
    """
    if not isinstance(req, dict):
        return error_answer(None, INVALID_REQUEST, "Invalid Request: must be an object")
    request_id = req.get("id")
    known_id = request_id if _is_id(request_id) else None
    if req.get("jsonrpc") != "2.0":
        return error_answer(known_id, INVALID_REQUEST, "Invalid Request: jsonrpc must be '2.0'")
    method = req.get("method")
    if not isinstance(method, str) or not method.strip():
        if "method" not in req and ("result" in req or "error" in req):
            # A response to a request that was never made. An answer could hit a request of the client's own.
            return None
        return error_answer(known_id, INVALID_REQUEST, "Invalid Request: missing method")
    if "id" not in req:
        return None
    if not _is_id(request_id):
        return error_answer(None, INVALID_REQUEST, "Invalid Request: id must be a string or an integer")
    params = req.get("params")
    return _answer(request_id, method.strip(), params if isinstance(params, dict) else {}, state)


def _is_id(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))


def _answer(request_id: object, method: str, params: dict[str, Any], state: McpWorkerState) -> Answer:
    if method == "initialize":
        return _result_answer(request_id, _initialized(params))
    if method == "ping":
        return _result_answer(request_id, {})
    if method == "tools/list":
        return _result_answer(request_id, {"tools": list(state.tools)})
    if method == "tools/call":
        return _call(request_id, params, state)
    return error_answer(request_id, METHOD_NOT_FOUND, f"Method not found: {method}")


def _initialized(params: dict[str, Any]) -> dict[str, Any]:
    return {
        "protocolVersion": negotiated(params.get("protocolVersion")),
        "capabilities": {"tools": {}},
        "serverInfo": {"name": SERVER_NAME, "version": __version__},
    }


def negotiated(asked: object) -> str:
    """The client's revision if it is known here, else the latest: the client then decides what to do."""
    return asked if isinstance(asked, str) and asked in PROTOCOLS else LATEST_PROTOCOL


def _call(request_id: object, params: dict[str, Any], state: McpWorkerState) -> Answer:
    name = params.get("name")
    if not isinstance(name, str) or not name.strip():
        return error_answer(request_id, INVALID_PARAMS, "Invalid params: missing tool name")
    arguments = params.get("arguments")
    if arguments is not None and not isinstance(arguments, dict):
        return error_answer(request_id, INVALID_PARAMS, "Invalid params: arguments must be an object")
    call: dict[str, Any] = {"name": name.strip(), "arguments": arguments or {}, "call_id": str(request_id)}
    try:
        executed: object = state.executor.execute(tool_calls=[call])
    except Exception as failure:  # whatever executor the host gave: the worker serves on
        _log.exception("The executor raised for tool %r", call["name"])
        return error_answer(
            request_id, INTERNAL_ERROR, f"Internal error: {type(failure).__name__}: {failure}"
        )
    result = _only_result(executed)
    if result is None:
        return error_answer(request_id, FAILED, "Tool execution failed (malformed result)")
    return _result_answer(request_id, _tool_result(result, call["name"]))


def _only_result(executed: object) -> dict[str, Any] | None:
    results = executed.get("results") if isinstance(executed, dict) else None
    if isinstance(results, list) and len(results) == 1 and isinstance(results[0], dict):
        return results[0]
    return None


def _tool_result(result: dict[str, Any], name: str) -> dict[str, Any]:
    output = result.get("output")
    succeeded = result.get("success") is True
    text = _text(output) if succeeded else str(result.get("error") or f"Tool '{name}' failed")
    answer: dict[str, Any] = {"content": [{"type": "text", "text": text}], "isError": not succeeded}
    if isinstance(output, dict):
        answer["structuredContent"] = json.loads(_text(output))
    return answer


def _text(output: object) -> str:
    """Text as it is, everything else as JSON that is valid also for NaN."""
    return output if isinstance(output, str) else stringify_json(output, mode="none", parse_strings=False)


def _result_answer(request_id: object, result: dict[str, Any]) -> Answer:
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


def error_answer(request_id: object, code: int, message: str) -> Answer:
    """A JSON-RPC error; the id is ``None`` when the request's own can't be known."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def parsed(document: bytes) -> object:
    """One JSON document as strict JSON in UTF-8.

    Raises:
        ValueError: it is none (``NaN`` is none either), or it is nested too deep to be read.
    """
    try:
        value: object = json.loads(document.decode("utf-8"), parse_constant=_refuse_constant)
    except RecursionError as deep:
        raise ValueError("the document is nested too deep") from deep
    return value


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def encoded(answer: Answer) -> bytes:
    """The answer as one line of UTF-8. Half surrogates (file names that are no UTF-8) become ``?``: clients
    refuse a whole message for one."""
    return json.dumps(answer, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
