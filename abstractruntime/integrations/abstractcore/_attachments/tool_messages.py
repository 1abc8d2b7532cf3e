"""Tool outputs as they stand in a conversation: ``[<tool>]: <body>`` (`spec/04 §9.4`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["ParsedToolMessage", "parse_tool_message"]

_FORM = re.compile(r"\[(?P<tool>[^\[\]\n]+)\]:[ \t]*(?P<body>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ParsedToolMessage:
    """A tool's output with its name.

    Attributes:
        tool_name: which tool.
        body: all after ``[<tool>]: ``.
    """

    tool_name: str
    body: str


def parse_tool_message(message: Mapping[str, Any] | str | None) -> ParsedToolMessage | None:
    """Tool and body of a message of role ``tool`` (or of its content alone); ``None`` for anything else."""
    content: object = message
    if isinstance(message, Mapping):
        if message.get("role") != "tool":
            return None
        content = message.get("content")
    found = _FORM.match(content.lstrip()) if isinstance(content, str) else None
    if found is None or not found["tool"].strip():
        return None
    return ParsedToolMessage(found["tool"].strip(), found["body"])
