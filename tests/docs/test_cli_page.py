"""The page of the command line lists the commands that there are."""

from __future__ import annotations

from .cli_page import PAGE, is_up_to_date


def test_the_page_lists_the_commands_as_they_are() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert is_up_to_date(page), "docs/cli.md is out of date: run `python -m tests.docs.cli_page`"
