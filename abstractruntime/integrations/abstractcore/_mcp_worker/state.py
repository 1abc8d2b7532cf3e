"""What one MCP worker serves, and to whom (`spec/04 §14.2`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from abstractruntime.core.errors import InvalidInputError

from .._default_tools.catalogue import (
    ALL_TOOLSETS,
    COMMS,
    Tool,
    Toolset,
    enabled_toolsets,
    load_tools,
    tool_name,
)
from .._default_tools.specs import tool_spec
from ..tool_executor import MappingToolExecutor, ToolExecutor
from ..workspace_scoped_tools import WorkspaceScope, WorkspaceScopedToolExecutor

__all__ = ["DEFAULT_MAX_REQUEST_BYTES", "LogValues", "McpWorkerState", "build_worker_state"]

DEFAULT_MAX_REQUEST_BYTES = 10 * 1024 * 1024

LogValues = Literal["all", "results", "none"]

McpTool = dict[str, Any]


@dataclass(frozen=True)
class McpWorkerState:
    """What a worker serves; the same object for both transports and all threads.

    Attributes:
        tools: entries of ``tools/list``: ``{"name", "description", "inputSchema"}``.
        executor: carries out ``tools/call``.
        http_require_auth: refuse HTTP requests without the token. A token alone implies it.
        http_auth_token: the token; never shown in logs or in this object's ``repr``.
        http_allowed_origins: the ``Origin`` values that may call; none means that no browser may.
        max_request_bytes: longest HTTP body, or line on stdin.
        log_values: what logs tell beside names: ``results`` (how answers begin), ``all`` (arguments too) or
            ``none``.
    """

    tools: Sequence[McpTool]
    executor: ToolExecutor
    http_require_auth: bool = False
    http_auth_token: str | None = field(default=None, repr=False)
    http_allowed_origins: Collection[str] = ()
    max_request_bytes: int = DEFAULT_MAX_REQUEST_BYTES
    log_values: LogValues = "results"


def build_worker_state(
    *,
    toolsets: Sequence[str],
    strict: bool = False,
    tool_timeout_s: float | None = None,
    workspace_root: str | None = None,
) -> McpWorkerState:
    """The state that serves these toolsets of `default_tools`; imports their modules and no others.

    Args:
        toolsets: ids. Unknown ones, and those that are switched off, are left out (`spec/04 §14.2`).
        strict: raise for them instead (`spec/04 §16.28`); the command line does.
        tool_timeout_s: seconds per call; none = unlimited. What a timed-out tool began goes on in a thread.
        workspace_root: the only directory whose files the tools may touch (`spec/04 §10`, mode
            ``workspace_only``); made if missing. Commands of ``execute_command`` start there but can leave.

    Raises:
        InvalidInputError: a `ValueError`: no toolset is left, or (strict) one can't be served; the message
            lists what was asked for and what there is.
        ImportError: AbstractCore is not installed.
    """
    requested = _ids(toolsets)
    available = enabled_toolsets()
    chosen = [each for each in available if each.id in requested]
    if strict:
        _refuse_unknown(requested, available)
    if not chosen:
        raise InvalidInputError(
            "No tools selected. Name at least one toolset. "
            f"Requested: {_listed(requested)}. Available: {_listed([each.id for each in available])}."
            f"{_switched_off(requested, available)}"
        )
    tools: dict[str, tuple[Tool, Toolset]] = {}
    for toolset in chosen:
        for tool in load_tools(toolset):
            tools.setdefault(tool_name(tool), (tool, toolset))
    return McpWorkerState(
        tools=[_mcp_tool(*tools[name]) for name in sorted(tools)],
        executor=_executor({name: tool for name, (tool, _) in tools.items()}, tool_timeout_s, workspace_root),
    )


def _executor(tools: dict[str, Tool], timeout_s: float | None, workspace_root: str | None) -> ToolExecutor:
    executor = MappingToolExecutor(tools, timeout_s=timeout_s)
    if workspace_root is None:
        return executor
    scope = WorkspaceScope.from_input_data({"workspace_root": workspace_root})
    if scope is None:
        raise InvalidInputError("The workspace root is blank; name a directory, or leave the option out.")
    return WorkspaceScopedToolExecutor(scope=scope, delegate=executor)


def _ids(toolsets: Sequence[str]) -> list[str]:
    """Trimmed, each once; one comma list is taken apart."""
    given = toolsets.split(",") if isinstance(toolsets, str) else toolsets
    return list(dict.fromkeys(name for name in (str(each).strip() for each in given) if name))


def _refuse_unknown(requested: list[str], available: list[Toolset]) -> None:
    offered = [each.id for each in available]
    missing = [name for name in requested if name not in offered]
    if missing:
        raise InvalidInputError(
            f"Toolsets that can't be served: {_listed(missing)}. Requested: {_listed(requested)}. "
            f"Available: {_listed(offered)}.{_switched_off(requested, available)}"
        )


def _switched_off(requested: list[str], available: list[Toolset]) -> str:
    if COMMS.id in requested and COMMS not in available:
        return (
            f" {COMMS.id!r} is switched off: set ABSTRACT_ENABLE_COMMS_TOOLS=1, or the switch of one group "
            "(ABSTRACT_ENABLE_EMAIL_TOOLS, ABSTRACT_ENABLE_WHATSAPP_TOOLS, ABSTRACT_ENABLE_TELEGRAM_TOOLS)."
        )
    unknown = [name for name in requested if name not in {each.id for each in ALL_TOOLSETS}]
    return f" There is no toolset {', '.join(map(repr, unknown))}." if unknown else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "(none)"


def _mcp_tool(tool: Tool, toolset: Toolset) -> McpTool:
    spec = tool_spec(tool, toolset=toolset.id)
    properties: dict[str, Any] = spec.get("parameters") or {}
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    required = [
        name for name, said in properties.items() if not (isinstance(said, dict) and "default" in said)
    ]
    if required:
        schema["required"] = required
    name = spec["name"]
    return {"name": name, "description": spec.get("description") or f"Tool '{name}'", "inputSchema": schema}
