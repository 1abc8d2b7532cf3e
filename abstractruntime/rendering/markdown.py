"""Markdown that its contents can't break out of."""

from __future__ import annotations

import re

__all__ = ["code_span", "fenced"]

_TICKS = re.compile("`+")


def fenced(content: str, language: str) -> list[str]:
    """Lines of a code block whose fence is longer than any run of backticks inside."""
    fence = "`" * max(3, _longest_ticks(content) + 1)
    return [f"{fence}{language}", content, fence]


def code_span(value: object) -> str:
    """``value`` between backticks, on one line."""
    text = " ".join(str(value).split("\n"))
    if "`" not in text:
        return f"`{text}`"
    ticks = "`" * (_longest_ticks(text) + 1)
    return f"{ticks} {text} {ticks}"


def _longest_ticks(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)
