"""``abstractruntime migrate``."""

from __future__ import annotations

import typer

from .options import DatabaseOption, settings_from

__all__ = ["migrate"]


def migrate(database_url: DatabaseOption = None) -> None:
    """Create or upgrade the database's tables. Doing it twice, or at the same time, does no harm."""
    from pathlib import Path

    from abstractruntime.storage.sql.engine import open_database
    from abstractruntime.storage.sql.migrate import current, head, upgrade

    settings = settings_from(None, database_url, None)
    if settings.database_url.startswith("sqlite:///"):
        Path(settings.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    before = current(database)
    upgrade(database)
    if before == head():
        typer.echo(f"{database.address} is at revision {before} already")
    else:
        typer.echo(f"{database.address}: revision {before or 'none'} -> {head()}")
