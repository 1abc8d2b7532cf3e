"""Tools of an MCP server: called here, or by a worker elsewhere (`spec/04 §7.5`, §7.6)."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.errors import InvalidInputError

from ..json_values import json_value
from .failures import failure_text
from .path_parameters import declared_paths
from .shapes import ToolCall, ToolResult, call_name, parsed_arguments, result_of

__all__ = ["DelegatingMcpToolExecutor", "McpToolExecutor"]

_PREFIX = "mcp::"


def _required(value: str, owner: object, what: str) -> str:
    text = str(value or "").strip()
    if not text:
        raise InvalidInputError(f"{type(owner).__name__} requires a non-empty {what}")
    return text


class McpToolExecutor:
    """Calls the tools of one MCP server over HTTP.

    Names may be plain or ``mcp::<server_id>::<tool>``.

    Args:
        server_id: the server's name in tool names.
        mcp_url: where it listens.
        timeout_s: seconds per request.
        mcp_client: a client with ``call_tool(name=, arguments=)``, which stays the caller's; without one an
            `abstractcore.mcp.McpClient` is made for each `execute` and closed after it.
        paths: names of path parameters by tool name, for the workspace policy.

    Raises:
        InvalidInputError: (a ``ValueError``) blank id or url.
    """

    delegates = False

    def __init__(
        self,
        *,
        server_id: str,
        mcp_url: str,
        timeout_s: float | None = 30.0,
        mcp_client: Any = None,
        paths: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._server_id = _required(server_id, self, "server_id")
        self._url = _required(mcp_url, self, "mcp_url")
        self._timeout_s = timeout_s
        self._client = mcp_client
        self._paths = {name: declared_paths(names) for name, names in (paths or {}).items()}

    def path_parameters(self, name: str) -> tuple[str, ...] | None:
        """Which parameters of the tool are declared to be paths; ``None`` = nobody has said."""
        _, tool = _split(name)
        return self._paths.get(name, self._paths.get(tool))

    def canonical_arguments(self, name: str, arguments: Any) -> dict[str, Any]:
        """The arguments as the server gets them; it alone knows what they should look like."""
        return parsed_arguments(arguments)

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": "executed", "results": [...]}``, one result per call, in their order.

        Raises:
            ImportError: AbstractCore is not installed, and no client was given.
        """
        return {"mode": "executed", "results": list(self.execute_each(tool_calls=tool_calls))}

    def execute_each(self, *, tool_calls: list[ToolCall]) -> Iterator[ToolResult]:
        """The results one by one; a call begins when the result before it was taken."""
        if self._client is not None or not tool_calls:
            yield from (self._result(self._client, call) for call in tool_calls)
            return
        from abstractcore.mcp import McpClient

        client = McpClient(url=self._url, timeout_s=self._timeout_s)
        try:
            yield from (self._result(client, call) for call in tool_calls)
        finally:
            client.close()

    def _result(self, client: Any, call: ToolCall) -> ToolResult:
        name = call_name(call)
        server, tool = _split(name)
        if server not in (None, self._server_id):
            error = f"MCP tool '{name}' targets server '{server}', expected '{self._server_id}'"
            return result_of(call, error=error)
        try:
            answer = client.call_tool(name=tool, arguments=parsed_arguments(call.get("arguments")))
        except Exception as exc:
            return result_of(call, error=str(exc))
        return _judged(call, answer)


def _split(name: str) -> tuple[str | None, str]:
    """Server and tool of a full name; a plain name has no server."""
    server, separator, tool = name.removeprefix(_PREFIX).partition("::")
    if not name.startswith(_PREFIX) or not separator or not server or not tool:
        return None, name
    return server, tool


def _judged(call: ToolCall, answer: Any) -> ToolResult:
    output = _output(answer)
    if isinstance(answer, Mapping) and answer.get("isError") is True:
        text = output.strip() if isinstance(output, str) else ""
        return result_of(call, error=text or "MCP tool call reported error")
    if isinstance(output, str):
        error = failure_text(output)
        if error is None and output.strip().lower().startswith("traceback"):
            error = output.strip()
        if error is not None:
            return result_of(call, error=error)
    return result_of(call, output=output)


def _output(answer: Any) -> Any:
    """The text parts, as JSON where they are that; without any, all that the server said."""
    content = answer.get("content") if isinstance(answer, Mapping) else None
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, Mapping) and part.get("type") == "text"]
    text = "\n".join(item.strip() for item in texts if isinstance(item, str) and item.strip())
    if not text:
        return json_value(answer)
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or nested beyond what the parser bears
        return text


class DelegatingMcpToolExecutor:
    """Leaves the calls to a worker that speaks to an MCP server; it resumes the run with their results.

    Args:
        server_id, mcp_url: as of `McpToolExecutor`.
        transport: named to the worker.
        wait_key_factory: makes the key the worker resumes with. The default derives ``mcp_job:<32 hex>`` from
            the effect's idempotency key, so that an effect that runs again after a crash waits for the same
            key (`spec/04 §16.8`); outside of an effect, and without runtime call ids, it is a random one.

    Raises:
        InvalidInputError: (a ``ValueError``) blank id or url.
    """

    delegates = True

    def __init__(
        self,
        *,
        server_id: str,
        mcp_url: str,
        transport: str = "streamable_http",
        wait_key_factory: Callable[[], str] | None = None,
        paths: Mapping[str, Iterable[str]] | None = None,
    ) -> None:
        self._server_id = _required(server_id, self, "server_id")
        self._url = _required(mcp_url, self, "mcp_url")
        self._transport = transport
        self._wait_key_factory = wait_key_factory
        self._paths = {name: declared_paths(names) for name, names in (paths or {}).items()}

    def path_parameters(self, name: str) -> tuple[str, ...] | None:
        """Which parameters of the tool are declared to be paths; ``None`` = nobody has said."""
        _, tool = _split(name)
        return self._paths.get(name, self._paths.get(tool))

    def execute(self, *, tool_calls: list[ToolCall]) -> dict[str, Any]:
        """``{"mode": "delegated", "wait_reason": "job", "wait_key", "tool_calls", "details"}``."""
        return {
            "mode": "delegated",
            "wait_reason": "job",
            "wait_key": self._wait_key(tool_calls),
            "tool_calls": json_value(tool_calls),
            "details": {
                "protocol": "mcp",
                "transport": self._transport,
                "url": self._url,
                "server_id": self._server_id,
                "tool_name_prefix": f"{_PREFIX}{self._server_id}::",
            },
        }

    def _wait_key(self, tool_calls: list[ToolCall]) -> str:
        if self._wait_key_factory is not None:
            return str(self._wait_key_factory())
        stable = _stable_name(tool_calls)
        if stable is None:
            return f"mcp_job:{uuid.uuid4().hex}"
        digest = hashlib.sha256(f"{self._server_id}|{stable}".encode())
        return f"mcp_job:{digest.hexdigest()[:32]}"


def _stable_name(tool_calls: list[ToolCall]) -> str | None:
    """What is the same each time this effect is executed, and different for every other effect."""
    try:
        return current_effect().idempotency_key
    except RuntimeError:  # called outside of an effect
        ids = [call.get("runtime_call_id") for call in tool_calls]
        return "|".join(str(one) for one in ids) if ids and all(ids) else None
