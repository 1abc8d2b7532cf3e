"""The page of the API leaves no public name out."""

from __future__ import annotations

import re

import abstractruntime

from .pages import DOCS


def test_every_top_level_name_is_on_the_page() -> None:
    page = (DOCS / "api.md").read_text(encoding="utf-8")
    words = set(re.findall(r"\w+", page))
    also = {name for names in abstractruntime._ALSO.values() for name in names}
    assert sorted((set(abstractruntime.__all__) | also) - words) == []
