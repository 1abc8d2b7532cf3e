"""Who carries out tool calls (`spec/04 §7`)."""

from __future__ import annotations

from ._abstractcore_executor import AbstractCoreToolExecutor
from ._mapping_executor import MappingToolExecutor
from ._mcp_executors import DelegatingMcpToolExecutor, McpToolExecutor
from ._passthrough_executor import PassthroughToolExecutor
from ._tool_shapes import ToolExecutor

__all__ = [
    "AbstractCoreToolExecutor",
    "DelegatingMcpToolExecutor",
    "MappingToolExecutor",
    "McpToolExecutor",
    "PassthroughToolExecutor",
    "ToolExecutor",
]
