"""Numbered lines of a text, within a range and a size (`spec/04 §9.5`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Excerpt", "excerpt", "preview_range", "text_lines"]

PREVIEW_CHARS = 8000
"""The size of an excerpt when nobody chose one; a small file may then take more."""

_SMALL_BYTES = 50_000
_SMALL_CHARS = 30_000
_WIDE_CHARS = 50_000
_FIRST_LINES = 20

TRUNCATED = "… (truncated)"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """What is shown of a text.

    Attributes:
        rendered: head, blank line, numbered lines.
        content: the same lines as they are.
        start_line, end_line: the lines shown, 1-based; 0 and 0 of an empty text.
        truncated: whether there was no room for all that was asked for.
    """

    rendered: str
    content: str
    start_line: int
    end_line: int
    truncated: bool


def text_lines(text: str) -> list[str]:
    """The lines without their ends; a line end at the very end begins no further line."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n").removesuffix("\n")
    return unified.split("\n") if text else []


def preview_range(
    text: str, size_bytes: int, start_line: int, end_line: int | None, max_chars: int
) -> tuple[int | None, int]:
    """Last line and size to show: a model that looks into a small file gets all of it at once."""
    is_small = size_bytes <= _SMALL_BYTES or len(text) <= _SMALL_CHARS
    if max_chars != PREVIEW_CHARS or not is_small:
        return end_line, max_chars
    if end_line is None:
        return None, _WIDE_CHARS
    if start_line <= 1 and end_line <= _FIRST_LINES:
        return None, _WIDE_CHARS
    return end_line, max_chars


def excerpt(
    lines: list[str], start_line: int, end_line: int | None, max_chars: int, head: Callable[[int, int], str]
) -> Excerpt:
    """Lines ``start_line`` to ``end_line`` of ``lines``, whole ones, in at most ``max_chars`` characters.

    Args:
        start_line: 1-based; moved to the nearest line there is.
        end_line: ``None`` = the last one; not before ``start_line``.
        max_chars: 0 and less = no limit.
        head: the first line, for the range that is really shown.
    """
    if not lines:
        return Excerpt(_bounded(head(0, 0), max_chars), "", 0, 0, False)
    first = min(max(1, start_line), len(lines))
    last = len(lines) if end_line is None else min(max(first, end_line), len(lines))
    width = len(str(last))
    numbered = [f"{number:>{width}}: {lines[number - 1]}" for number in range(first, last + 1)]
    whole = "\n".join([head(first, last), "", *numbered])
    if max_chars <= 0 or len(whole) <= max_chars:
        return Excerpt(whole, "\n".join(lines[first - 1 : last]), first, last, False)
    return _cut(lines, numbered, first, max_chars, head)


def _cut(
    lines: list[str], numbered: list[str], first: int, max_chars: int, head: Callable[[int, int], str]
) -> Excerpt:
    """As many whole lines as leave room for the mark of truncation, and at least a part of the first."""
    for mark in (f"\n{TRUNCATED}", ""):
        kept = _whole_lines(numbered, first, max_chars - len(mark), head)
        if kept:
            last = first + kept - 1
            rendered = "\n".join([head(first, last), "", *numbered[:kept]]) + mark
            return Excerpt(rendered, "\n".join(lines[first - 1 : last]), first, last, True)
    before = f"{head(first, first)}\n\n"
    room = max_chars - len(before) - len(TRUNCATED) - 1
    if room > len(f"{first}: …"):
        line, mark = _bounded(numbered[0], room), f"\n{TRUNCATED}"
    else:
        line, mark = _bounded(numbered[0], max(1, max_chars - len(before))), ""
    rendered = _bounded(before + line + mark, max_chars)
    return Excerpt(rendered, line.partition(": ")[2], first, first, True)


def _whole_lines(numbered: list[str], first: int, room: int, head: Callable[[int, int], str]) -> int:
    """How many of the lines fit below the head that names them."""
    size = 0
    for count, line in enumerate(numbered):
        size += len(line) + 1
        if len(head(first, first + count)) + 1 + size > room:
            return count
    return len(numbered)


def _bounded(text: str, most: int) -> str:
    return text if most <= 0 or len(text) <= most else text[: most - 1] + "…"
