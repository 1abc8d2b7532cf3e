"""The doctor's checks of App, database and runs. Each gives findings and never raises for what it checks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from abstractruntime.app import load_app
from abstractruntime.core.errors import RuntimeFault
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.health import Health, health
from abstractruntime.storage.sql.migrate import current, head
from workers.settings import Settings

from .findings import Finding, Level

__all__ = ["examine"]


def examine(settings: Settings) -> list[Finding]:
    """All findings, in the order in which things depend on each other."""
    from .doctor_redis import examine_redis

    return [*_app(settings), *_database(settings), *examine_redis(settings)]


def _app(settings: Settings) -> Iterator[Finding]:
    if settings.app is None:
        yield Finding(
            Level.WARN,
            "no App given: not checked",
            "pass --app module:attribute or set ABSTRACTRUNTIME_APP",
        )
        return
    try:
        app = load_app(settings.app)
    except RuntimeFault as exc:
        yield Finding(
            Level.BAD, str(exc), "run this where the module can be imported, with its requirements installed"
        )
        return
    workflows = len(app.workflow_ids())
    yield Finding(Level.OK, f"App '{app.name}' ({settings.app}): {workflows} workflow(s)")


def _database(settings: Settings) -> Iterator[Finding]:
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not Path(path).exists():
        yield Finding(
            Level.BAD, f"no database at {path}", "run 'abstractruntime migrate', or dev in that folder"
        )
        return
    try:
        database = open_database(settings.database_url)
        revision = current(database)
    except RuntimeFault as exc:
        yield Finding(Level.BAD, str(exc), "start the database, or correct DATABASE_URL")
        return
    if revision != head():
        yield Finding(
            Level.BAD,
            f"{database.address} is at schema revision {revision or 'none'}, this release needs {head()}",
            "run 'abstractruntime migrate'",
        )
        return
    yield Finding(Level.OK, f"{database.address}, schema revision {revision}")
    yield from _runs(database, settings)


def _runs(database: Database, settings: Settings) -> Iterator[Finding]:
    late_s = max(15.0, settings.sweep_interval * 5)
    found = health(database, late_s=late_s)
    yield Finding(Level.OK, f"runs: {_counts(found)}")
    for reason, count in found.held:
        yield Finding(Level.WARN, f"{count} run(s) held: {reason}", "start a worker whose App knows it")
    if found.overdue:
        yield Finding(
            Level.BAD,
            f"{found.overdue} run(s) are overdue, the oldest by {found.overdue_s:.0f} s: nobody sweeps",
            "start beat ('abstractruntime beat') and tick workers ('abstractruntime worker ticks')",
        )


def _counts(found: Health) -> str:
    if not found.by_status:
        return "none yet"
    waits = ", ".join(f"{count} for {reason}" for reason, count in found.by_wait.items())
    parts = [f"{count} {status}" for status, count in found.by_status.items()]
    return ", ".join(parts) + (f" (waiting: {waits})" if waits else "")
