"""``abstractruntime doctor``: what is wrong with a deployment, and how to mend it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from .options import AppOption, DatabaseOption, JsonOption, RedisOption, settings_from
from .output import print_json

__all__ = ["doctor"]


def doctor(
    as_json: JsonOption = False,
    app: AppOption = None,
    database_url: DatabaseOption = None,
    redis_url: RedisOption = None,
) -> None:
    """Check settings, App, database, Redis, queues and runs. Exit code 1 if something is wrong."""
    from .doctor_checks import examine
    from .findings import Finding, Level

    findings: list[Finding] = examine(settings_from(app, database_url, redis_url))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            _tell(finding.level.value, finding.what, finding.mend)
    wrong = sum(finding.level is Level.BAD for finding in findings)
    if wrong:
        typer.echo(f"{wrong} thing(s) wrong", err=True)
        raise typer.Exit(1)


_COLOURS = {"ok": typer.colors.GREEN, "warn": typer.colors.YELLOW, "bad": typer.colors.RED}


def _tell(level: str, what: str, mend: str) -> None:
    typer.echo(f"{typer.style(f'{level:<5}', fg=_COLOURS[level])} {what}")
    if mend:
        typer.echo(f"      -> {mend}")
