"""Writes the list of commands in ``docs/cli.md`` from the commands themselves.

Run ``python -m tests.docs.cli_page`` after changing a command; `test_cli_page` compares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main

from abstractruntime.cli.program import program

from .pages import DOCS

__all__ = ["PAGE", "commands", "is_up_to_date", "with_commands"]

PAGE = DOCS / "cli.md"

_BEGIN = "<!-- commands: written by python -m tests.docs.cli_page -->\n"
_END = "<!-- /commands -->\n"
_COMMON = {"--app", "--database-url", "--redis-url"}

# Typer's commands come from click, or from the click that newer releases of typer bring along.
Command = Any


def commands() -> str:
    """Every command with its arguments and options."""
    root = typer.main.get_command(program)
    return "\n".join(_section(path, command) for path, command in _leaves("abstractruntime", root))


def _leaves(path: str, command: Command) -> Iterator[tuple[str, Command]]:
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
        return
    for name, child in children.items():
        yield from _leaves(f"{path} {name}", child)


def _section(path: str, command: Command) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([path, *((each.name or "").upper() for each in arguments)])
    own = [each for each in options if not _COMMON & set(each.opts)]
    common = sorted(opt for each in options for opt in each.opts if opt in _COMMON)
    lines = [f"### `{usage}`\n", _text(command.help), ""]
    if own:
        lines += ["| option | meaning |", "|---|---|"]
        lines += [f"| {_names(each)} | {_text(each.help)} |" for each in own]
        lines.append("")
    if common:
        lines += ["Where: " + ", ".join(f"`{opt}`" for opt in common) + ".", ""]
    return "\n".join(lines)


def _names(option: Command) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def _text(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def with_commands(page: str) -> str:
    """The page with the commands as they are now."""
    before, rest = page.split(_BEGIN)
    return before + _BEGIN + "\n" + commands() + _END + rest.split(_END)[1]


def is_up_to_date(page: str) -> bool:
    """Whether the page lists the commands as they are."""
    return page == with_commands(page)


if __name__ == "__main__":
    PAGE.write_text(with_commands(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
