"""Runs and values as text for people (`spec/03 §16`). Needs no optional package."""

from __future__ import annotations

from .agent_trace_report import AgentTraceMarkdownReportConfig, render_agent_trace_markdown
from .json_stringify import JsonStringifyMode, stringify_json

__all__ = [
    "AgentTraceMarkdownReportConfig",
    "JsonStringifyMode",
    "render_agent_trace_markdown",
    "stringify_json",
]
