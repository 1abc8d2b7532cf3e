"""The pages of README and docs, and the code blocks in them.

A comment right above a block says what is to be done with it:

- ``<!-- file: flows.py -->``: the block is saved under this name, for later blocks to import or run;
- ``<!-- not run: why -->``: the block is not executed, for this reason.

All other ``python`` and ``bash`` blocks are executed as they stand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["DOCS", "EXECUTABLE", "ROOT", "Block", "blocks_of", "page_name", "pages"]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXECUTABLE = ("python", "bash")

_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)
_MARK = re.compile(r"<!-- (file|not run): (.+?) -->\s*\Z")


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: the page's path from the repository's root.
        language: as written behind the fence; may be empty.
        code: the text between the fences.
        line: of its first line of code, from 1.
        file: the name it is saved under, if it is a file.
        not_run: why it is not executed, if it is not.
    """

    page: str
    language: str
    code: str
    line: int
    file: str | None = None
    not_run: str | None = None

    @property
    def opening(self) -> str:
        """What names the block in lists: the beginning of its first line."""
        return self.code.split("\n", 1)[0][:36].strip()


def pages() -> list[Path]:
    """README and every page under docs."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def page_name(page: Path) -> str:
    """The page's path from the repository's root."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The page's fenced blocks in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, match) for match in _FENCE.finditer(text)]


def _block(page: Path, text: str, match: re.Match[str]) -> Block:
    indent, language, code = match.groups()
    mark = _MARK.search(text, 0, match.start())
    said = {} if mark is None else {mark[1]: mark[2]}
    return Block(
        page=page_name(page),
        language=language,
        code="".join(line.removeprefix(indent) for line in code.splitlines(keepends=True)),
        line=text.count("\n", 0, match.start(3)) + 1,
        file=said.get("file"),
        not_run=said.get("not run"),
    )
