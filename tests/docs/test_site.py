"""The site builds without a warning: every link, anchor and API name on it exists."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from .pages import DOCS, ROOT, page_name, pages

BUILT = all(find_spec(name) is not None for name in ("zensical", "mkdocstrings"))


@pytest.mark.skipif(not BUILT, reason="needs abstractruntime[docs] (Python 3.11 or newer)")
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    for package in ("abstractruntime", "workers"):
        (tmp_path / package).symlink_to(ROOT / package)
    command = [sys.executable, "-m", "zensical", "build", "--strict", "-f", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=110, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "griffe:" not in said, said
    built = (tmp_path / "site" / "reference" / "kernel" / "index.html").read_text(encoding="utf-8")
    assert "update_limits" in built
    assert "get_node_traces" in built  # inherited, documented all the same
    assert (tmp_path / "site" / "index.html").exists()


def test_every_page_is_in_the_navigation() -> None:
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    lost = [
        page_name(page)
        for page in pages()
        if page.is_relative_to(DOCS) and f": {page.relative_to(DOCS).as_posix()}\n" not in listed
    ]
    assert not lost
