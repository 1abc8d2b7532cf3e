"""The tree of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from . import chaos, demo, dev, doctor, events, migrate, processes, purge, runs
from .door import Door

__all__ = ["program"]

program = typer.Typer(
    name="abstractruntime",
    cls=Door,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Durable workflows with an append-only ledger, from one process to a fleet of Celery workers.",
)


def _version(wanted: bool) -> None:
    if wanted:
        from abstractruntime import __version__

        typer.echo(f"abstractruntime {__version__}")
        raise typer.Exit


@program.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing to do before a command."""


_TRY = "Try it and develop"
_OPERATE = "Operate a fleet"
_PROCESSES = "Processes of a fleet"

program.command("demo", rich_help_panel=_TRY)(demo.demo)
program.command("dev", rich_help_panel=_TRY)(dev.dev)
program.command("chaos", rich_help_panel=_TRY)(chaos.chaos)
program.command("doctor", rich_help_panel=_OPERATE)(doctor.doctor)
program.command("migrate", rich_help_panel=_OPERATE)(migrate.migrate)
program.command("purge", rich_help_panel=_OPERATE)(purge.purge_command)
program.add_typer(runs.group, rich_help_panel=_OPERATE)
program.add_typer(events.group, rich_help_panel=_OPERATE)
program.command("worker", rich_help_panel=_PROCESSES, context_settings=processes.PASS_ON)(processes.worker)
program.command("beat", rich_help_panel=_PROCESSES, context_settings=processes.PASS_ON)(processes.beat)
program.command("resumer", rich_help_panel=_PROCESSES)(processes.resumer)
