"""Opening a deployment's database, with one clear error when it can't be used."""

from __future__ import annotations

from pathlib import Path

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import is_current
from abstractruntime.storage.sql.store import SqlCheckpointStore

from .settings import Settings

__all__ = ["open_store"]


def open_store(settings: Settings) -> SqlCheckpointStore:
    """The store of a migrated database.

    Raises:
        ServiceUnavailableError: the database can't be reached.
        ConfigurationError: it can, but its schema is not this release's.
    """
    if settings.database_url.startswith("sqlite:///"):
        Path(settings.database_url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    database = open_database(settings.database_url)
    if not is_current(database):
        raise ConfigurationError(
            f"Database {database.address} has not this release's schema: run 'abstractruntime migrate'"
        )
    return SqlCheckpointStore(database)
