"""The page of the worker tells all its options."""

from __future__ import annotations

from abstractruntime.integrations.abstractcore._mcp_worker.cli import _parser

from .processes import ROOT


def test_every_option_is_on_the_page() -> None:
    page = (ROOT / "docs" / "mcp-worker.md").read_text(encoding="utf-8")
    options = {name for action in _parser()._actions for name in action.option_strings}
    assert sorted(name for name in options - {"-h", "--help"} if f"`{name}`" not in page) == []
