"""``abstractruntime events ...``."""

from __future__ import annotations

from typing import Annotated

import typer

from .json_input import json_value
from .options import AppOption, DatabaseOption, RedisOption
from .runs import PAYLOAD_HELP, connect

__all__ = ["group"]

group = typer.Typer(name="events", no_args_is_help=True, help="Wake runs that wait for events.")


@group.callback()
def _events() -> None:
    """Wake runs that wait for events."""


@group.command()
def emit(
    name: Annotated[str | None, typer.Argument(help="The event's name; not needed with --wait-key.")] = None,
    payload: Annotated[str | None, typer.Option(metavar="JSON", help=PAYLOAD_HELP)] = None,
    scope: Annotated[str, typer.Option(help="session, workflow, run or global.")] = "session",
    session_id: Annotated[str | None, typer.Option(help="For scope session.")] = None,
    workflow: Annotated[str | None, typer.Option(help="For scope workflow.")] = None,
    run_id: Annotated[str | None, typer.Option(help="For scope run.")] = None,
    wait_key: Annotated[
        str | None, typer.Option(help="The exact key runs wait for, instead of a scope.")
    ] = None,
    event_id: Annotated[
        str | None, typer.Option(help="Your own id: a second event with it changes nothing.")
    ] = None,
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Emit an event. Runs that wait for it go on; one that waits later still gets it."""
    value = None if payload is None else json_value(payload, "--payload")
    with connect(app, database_url, redis_url) as client:
        receipt = client.emit_event(
            name,
            value,
            scope=scope,
            session_id=session_id,
            workflow_id=workflow,
            run_id=run_id,
            wait_key=wait_key,
            event_id=event_id,
        )
    if not receipt.accepted:
        typer.echo(f"{receipt.event_id} known already: nothing changed")
    elif receipt.resumed:
        typer.echo(f"{receipt.event_id} resumed {' '.join(receipt.resumed)}")
    else:
        typer.echo(f"{receipt.event_id} kept: nobody waits for it yet")
