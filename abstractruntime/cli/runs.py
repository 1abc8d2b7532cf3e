"""``abstractruntime runs ...``: start, look at and steer runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from abstractruntime.core.models import RunState, RunStatus, WaitReason

from .door import complain
from .json_input import json_object, json_value
from .options import AppOption, DatabaseOption, JsonOption, RedisOption, require_database, settings_from
from .output import print_json
from .run_text import print_ledger, print_run, print_runs, summary_dict

if TYPE_CHECKING:
    from workers.client import Client

__all__ = ["group"]

group = typer.Typer(name="runs", no_args_is_help=True, help="Start, look at and steer runs.")

RunId = Annotated[str, typer.Argument(metavar="RUN_ID")]
Reason = Annotated[str | None, typer.Option(help="Why; kept in the ledger.")]
Timeout = Annotated[float | None, typer.Option(min=0, help="Seconds; default: for ever.")]
PAYLOAD_HELP = "JSON, @file, or - for stdin."


def connect(app: str | None, database_url: str | None, redis_url: str | None) -> Client:
    """A client for the given options."""
    from workers.client import Client

    settings = settings_from(app, database_url, redis_url)
    require_database(settings)
    return Client(settings=settings)


@group.command()
def start(
    workflow: Annotated[str, typer.Argument(help="The workflow's id.")],
    vars: Annotated[
        str | None, typer.Option("--vars", metavar="JSON", help=f"Its variables. {PAYLOAD_HELP}")
    ] = None,
    run_id: Annotated[
        str | None, typer.Option(help="Your own id: a second start with it starts nothing.")
    ] = None,
    session_id: Annotated[str | None, typer.Option()] = None,
    actor_id: Annotated[str | None, typer.Option()] = None,
    priority: Annotated[int, typer.Option(help="-9 to 9: who is served first where runs wait.")] = 0,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for its end and print its output.")] = False,
    timeout: Timeout = None,
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Start a run and print its id."""
    given = json_object(vars, "--vars")
    with connect(app, database_url, redis_url) as client:
        started = client.start(
            workflow, given, run_id=run_id, session_id=session_id, actor_id=actor_id, priority=priority
        )
        if not wait:
            typer.echo(started)
            return
        _end(client.wait(started, timeout))


@group.command("list")
def list_runs(
    status: Annotated[RunStatus | None, typer.Option()] = None,
    wait_reason: Annotated[WaitReason | None, typer.Option(help="What waiting runs wait for.")] = None,
    workflow: Annotated[str | None, typer.Option(help="Only runs of this workflow.")] = None,
    session_id: Annotated[str | None, typer.Option()] = None,
    parent: Annotated[str | None, typer.Option(metavar="RUN_ID", help="Only children of this run.")] = None,
    roots: Annotated[bool, typer.Option("--roots", help="No children.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 20,
    before: Annotated[
        str | None, typer.Option(metavar="TIME", help="Page on: runs updated before this time.")
    ] = None,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """List runs, the ones updated last first."""
    with connect(None, database_url, None) as client:
        found = client.list(
            status=status,
            wait_reason=wait_reason,
            workflow_id=workflow,
            session_id=session_id,
            parent_run_id=parent,
            root_only=roots,
            limit=limit,
            before=before,
        )
    if as_json:
        print_json([summary_dict(run) for run in found])
    else:
        print_runs(found)


@group.command()
def show(run_id: RunId, as_json: JsonOption = False, database_url: DatabaseOption = None) -> None:
    """Show one run: its state, what it waits for, when somebody looks at it next."""
    with connect(None, database_url, None) as client:
        checkpoint = client.checkpoint(run_id)
    if as_json:
        print_json(checkpoint.run.to_dict())
    else:
        print_run(checkpoint)


@group.command()
def ledger(
    run_id: RunId,
    after: Annotated[int, typer.Option(min=0, help="Only entries past this position.")] = 0,
    limit: Annotated[int | None, typer.Option("--limit", "-n", min=1)] = None,
    as_json: JsonOption = False,
    database_url: DatabaseOption = None,
) -> None:
    """Show what a run has done, step by step."""
    with connect(None, database_url, None) as client:
        client.get(run_id)
        entries = client.ledger(run_id, after=after, limit=limit)
    if as_json:
        print_json([{"seq": entry.seq, **entry.record} for entry in entries])
    else:
        print_ledger(entries)


@group.command()
def resume(
    run_id: RunId,
    payload: Annotated[str | None, typer.Argument(metavar="[PAYLOAD]", help=PAYLOAD_HELP)] = None,
    wait_key: Annotated[str | None, typer.Option(help="Refuse unless the run waits for this key.")] = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Give a waiting run what it waits for."""
    value = None if payload is None else json_value(payload, "PAYLOAD")
    with connect(None, database_url, redis_url) as client:
        _told(client.resume(run_id, value, wait_key=wait_key))


@group.command()
def respond(
    run_id: RunId,
    payload: Annotated[str, typer.Argument(help=PAYLOAD_HELP)],
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Answer the question that a run asks."""
    value = json_value(payload, "PAYLOAD")
    with connect(None, database_url, redis_url) as client:
        _told(client.respond(run_id, value))


@group.command()
def cancel(
    run_id: RunId, reason: Reason = None, database_url: DatabaseOption = None, redis_url: RedisOption = None
) -> None:
    """End a run and its children for good."""
    with connect(None, database_url, redis_url) as client:
        for run in client.cancel(run_id, reason=reason):
            _told(run)


@group.command()
def pause(
    run_id: RunId, reason: Reason = None, database_url: DatabaseOption = None, redis_url: RedisOption = None
) -> None:
    """Hold a run; what it is doing now is finished and kept."""
    with connect(None, database_url, redis_url) as client:
        _told(client.pause(run_id, reason=reason))


@group.command()
def unpause(run_id: RunId, database_url: DatabaseOption = None, redis_url: RedisOption = None) -> None:
    """Let a paused run go on."""
    with connect(None, database_url, redis_url) as client:
        _told(client.unpause(run_id))


@group.command()
def retry(run_id: RunId, database_url: DatabaseOption = None, redis_url: RedisOption = None) -> None:
    """Let a failed run go on from the step that failed."""
    with connect(None, database_url, redis_url) as client:
        _told(client.retry(run_id))


@group.command()
def wait(
    run_id: RunId, timeout: Timeout = None, database_url: DatabaseOption = None, redis_url: RedisOption = None
) -> None:
    """Wait for a run's end and print its output. Exit code 1 unless it has completed."""
    with connect(None, database_url, redis_url) as client:
        _end(client.wait(run_id, timeout))


def _told(run: RunState) -> None:
    typer.echo(f"{run.run_id} {run.status.value}")


def _end(run: RunState) -> None:
    if run.status is RunStatus.COMPLETED:
        print_json(run.output)
        return
    complain(
        f"run {run.run_id} {run.status.value} at node '{run.current_node}': {run.error or 'no reason given'}"
    )
    raise typer.Exit(1)
