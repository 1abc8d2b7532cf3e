"""Links of pages that are no part of the site lead to something. (The site's are checked as it is built.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .pages import ROOT, page_name

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
