"""Options that many commands share, and how they become settings.

A value is taken from the option, else from the environment, else from the embedded fleet of the current
folder (``.abstractruntime/fleet.json``), else from the defaults of `workers.settings`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from abstractruntime.core.errors import ConfigurationError

if TYPE_CHECKING:
    from workers.embedded import FleetRecord
    from workers.settings import Settings

__all__ = ["AppOption", "DatabaseOption", "JsonOption", "RedisOption", "require_database", "settings_from"]

_PANEL = "Where"

AppOption = Annotated[
    str | None,
    typer.Option(
        "--app",
        envvar="ABSTRACTRUNTIME_APP",
        metavar="MODULE:ATTRIBUTE",
        help="The App to use, e.g. flows:app.",
        rich_help_panel=_PANEL,
    ),
]
DatabaseOption = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="DATABASE_URL",
        metavar="URL",
        help="postgresql://user:password@host/name or sqlite:///path.",
        rich_help_panel=_PANEL,
    ),
]
RedisOption = Annotated[
    str | None,
    typer.Option(
        "--redis-url",
        envvar="REDIS_URL",
        metavar="URL",
        help="redis://host:port/db.",
        rich_help_panel=_PANEL,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def settings_from(app: str | None, database_url: str | None, redis_url: str | None) -> Settings:
    """The settings a command works with.

    Raises:
        ConfigurationError: one of them can't be used.
    """
    from workers.settings import load_settings

    found = _fleet_here(database_url)
    if found is not None:
        database_url = found.database_url
        redis_url = redis_url or found.redis_url
        app = app or found.app
    given = {"app": app, "database_url": database_url, "redis_url": redis_url}
    return load_settings(**{name: value for name, value in given.items() if value is not None})


def require_database(settings: Settings) -> None:
    """Looking at runs must not make an empty database where there is none.

    Raises:
        ConfigurationError: the SQLite file does not exist.
    """
    path = settings.database_url.removeprefix("sqlite:///")
    if path != settings.database_url and not Path(path).exists():
        raise ConfigurationError(
            f"There is no database at {Path(path).absolute()}: run 'abstractruntime dev' in its folder or "
            "'abstractruntime migrate' first, or pass --database-url (DATABASE_URL)"
        )


def _fleet_here(database_url: str | None) -> FleetRecord | None:
    """The folder's embedded fleet, unless the caller means another database."""
    from workers.embedded.record import DEFAULT_DIRECTORY, FleetRecord

    if database_url is not None or os.environ.get("ABSTRACTRUNTIME_DATABASE_URL"):
        return None
    return FleetRecord.read(Path.cwd() / DEFAULT_DIRECTORY)
