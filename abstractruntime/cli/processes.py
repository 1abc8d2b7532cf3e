"""``abstractruntime worker|beat|resumer``: become one process of a fleet.

These are thin: they check what they were given, then *exec* Celery (or the resumer) with the arguments this
fleet needs, so that a process manager sees and signals the program itself.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from workers.roles import Command, Pool, Role, beat_command, resumer_command, worker_command

from .options import AppOption, DatabaseOption, RedisOption, settings_from

if TYPE_CHECKING:
    from workers.settings import Settings

__all__ = ["PASS_ON", "beat", "resumer", "worker"]

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}
"""Arguments we don't know are Celery's."""

LogLevel = Annotated[str, typer.Option("--log-level", "-l", help="debug, info, warning or error.")]


def worker(
    context: typer.Context,
    role: Annotated[Role, typer.Argument(help="ticks take steps; effects make calls to the outside.")],
    concurrency: Annotated[
        int | None,
        typer.Option("--concurrency", "-c", min=1, help="Tasks at once. Default: ticks 1, effects 8."),
    ] = None,
    pool: Annotated[
        Pool | None, typer.Option(help="Default: solo for one tick at a time, else threads.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Node name in logs and Flower; default: the role.")] = None,
    log_level: LogLevel = "info",
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Run a Celery worker for ticks or for effects. Further options go to Celery, e.g. -E for Flower."""
    settings = settings_from(app, database_url, redis_url)
    _check_app(settings)
    command = worker_command(
        role,
        settings,
        concurrency=concurrency,
        pool=pool,
        name=name,
        log_level=log_level,
        extra=context.args,
    )
    _become(command, settings)


def beat(
    context: typer.Context,
    log_level: LogLevel = "info",
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Run Celery beat, the pulse of the fleet. Two of them do no harm."""
    settings = settings_from(app, database_url, redis_url)
    _become(beat_command(log_level=log_level, extra=context.args), settings)


def resumer(
    log_level: LogLevel = "info",
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Run a resumer: what is published on Redis becomes durable events."""
    _become(resumer_command(log_level=log_level), settings_from(app, database_url, redis_url))


def _check_app(settings: Settings) -> None:
    from abstractruntime.app import load_app

    load_app(settings.app)


def _become(command: Command, settings: Settings) -> NoReturn:
    if settings.app is not None:
        os.environ["ABSTRACTRUNTIME_APP"] = settings.app
    os.environ["DATABASE_URL"] = settings.database_url
    os.environ["REDIS_URL"] = settings.redis_url
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", command.module, *command.args])
