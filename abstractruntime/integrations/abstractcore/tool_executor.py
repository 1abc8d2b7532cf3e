"""Who carries out tool calls (`spec/04 §7`)."""

from __future__ import annotations

from ._tool_calls.abstractcore_executor import AbstractCoreToolExecutor
from ._tool_calls.mapping_executor import MappingToolExecutor
from ._tool_calls.mcp_executors import DelegatingMcpToolExecutor, McpToolExecutor
from ._tool_calls.passthrough_executor import PassthroughToolExecutor
from ._tool_calls.shapes import ToolExecutor

__all__ = [
    "AbstractCoreToolExecutor",
    "DelegatingMcpToolExecutor",
    "MappingToolExecutor",
    "McpToolExecutor",
    "PassthroughToolExecutor",
    "ToolExecutor",
]
