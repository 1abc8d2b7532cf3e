"""What a model is told about each default tool (`spec/04 §8.1`)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..json_values import json_value
from .catalogue import Tool

__all__ = ["OPEN_ATTACHMENT", "OPEN_ATTACHMENT_TOOLSET", "ToolSpec", "open_attachment_spec", "tool_spec"]

ToolSpec = dict[str, Any]

OPEN_ATTACHMENT = "open_attachment"
OPEN_ATTACHMENT_TOOLSET = "files"

# Models that are shown a plain string here send one path instead of a list. One string still works.
_PATHS_TOOLS = frozenset({"skim_files", "skim_folders"})

_INTERNAL_PARAMETERS = {"skim_files": ("max_output_lines", "max_chars_per_excerpt")}


def tool_spec(tool: Tool, *, toolset: str) -> ToolSpec:
    """AbstractCore's own description of the tool as JSON-like data, with the id of its toolset."""
    definition = getattr(tool, "_tool_definition", None)
    if definition is None:
        from abstractcore.tools.core import ToolDefinition

        definition = ToolDefinition.from_function(tool)
    spec: ToolSpec = json_value(definition.to_dict())
    parameters = spec.get("parameters")
    if isinstance(parameters, dict):
        _tidy(str(spec["name"]), parameters)
    spec["toolset"] = toolset
    return spec


def _tidy(name: str, parameters: dict[str, Any]) -> None:
    for internal in _INTERNAL_PARAMETERS.get(name, ()):
        parameters.pop(internal, None)
    if name in _PATHS_TOOLS:
        said = parameters.get("paths")
        description = said.get("description") if isinstance(said, dict) else None
        parameters["paths"] = {"type": "array", "items": {"type": "string"}}
        if description:
            parameters["paths"]["description"] = description


def open_attachment_spec() -> ToolSpec:
    """The tool that the TOOL_CALLS handler carries out itself (`spec/04 §7.7`, §9.5): a spec, no callable."""
    return deepcopy(_OPEN_ATTACHMENT_SPEC)


_OPEN_ATTACHMENT_SPEC: ToolSpec = {
    "name": OPEN_ATTACHMENT,
    "description": (
        "Open an attachment stored in this session: a bounded, line-numbered excerpt of text, "
        "or media for the next model call."
    ),
    "when_to_use": (
        "Use to read an attachment of the session index by artifact_id (preferred) or handle; "
        "pass start_line/end_line for an excerpt, expected_sha256 when a handle has several versions."
    ),
    "parameters": {
        "artifact_id": {
            "type": "string",
            "default": None,
            "description": "Id of the attachment, from the session's attachment index.",
        },
        "handle": {
            "type": "string",
            "default": None,
            "description": "Path or file name of the attachment, when its id is not known.",
        },
        "expected_sha256": {
            "type": "string",
            "default": None,
            "description": "SHA-256 of the wanted content, when a handle has several versions.",
        },
        "start_line": {
            "type": "integer",
            "default": 1,
            "description": "First line to show (1-based).",
        },
        "end_line": {
            "type": "integer",
            "default": None,
            "description": "Last line to show (inclusive); none means up to the end.",
        },
        "max_chars": {
            "type": "integer",
            "default": 8000,
            "description": "Most characters to show; 0 means no cap.",
        },
    },
    "required_args": [],
    "examples": [
        {
            "description": "Open lines 1 to 120 of a text attachment by id",
            "arguments": {"artifact_id": "a1b2c3d4e5f6", "start_line": 1, "end_line": 120},
        },
        {
            "description": "Open by handle, pinned to one version",
            "arguments": {"handle": "docs/report.md", "expected_sha256": "9f86d081"},
        },
        {
            "description": "Open a whole attachment without a cap",
            "arguments": {"artifact_id": "a1b2c3d4e5f6", "max_chars": 0},
        },
    ],
    "toolset": OPEN_ATTACHMENT_TOOLSET,
}
