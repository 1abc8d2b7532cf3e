"""Bring a database to the newest schema.

An empty database is made in one go from `schema.py`; anything older (a file of the contract's tables, or of
an earlier release) goes through the Alembic revisions in `migrations/`, in one transaction. Several
processes may do this at once: they queue up on a lock of the database.
"""

from __future__ import annotations

from importlib.resources import files

from sqlalchemy import Connection, inspect, text
from sqlalchemy.exc import DBAPIError

from . import statements as sql
from .driver import Session
from .engine import Database
from .schema import HEAD, build_metadata

__all__ = ["current", "head", "is_current", "upgrade"]

_VERSION_TABLE = "alembic_version"
_LOCK = 0x61625F72_74696D65  # any constant: one lock for all upgrades of abstractruntime's schema


def head() -> str:
    """The newest revision this release knows."""
    return HEAD


def current(database: Database) -> str | None:
    """The database's revision, or ``None`` if it has none yet."""

    def look(session: Session) -> str | None:
        if session.execute(sql.HAS_REVISION).fetchone()[0] is None:
            return None
        found = session.execute(sql.REVISION).fetchone()
        return None if found is None else str(found[0])

    return database.read(look)


def is_current(database: Database) -> bool:
    """Whether the schema is the newest."""
    return current(database) == HEAD


def upgrade(database: Database) -> None:
    """Create or upgrade the schema; nothing happens if it is current.

    Raises:
        ServiceUnavailableError: the database can't be reached or written to.
    """
    if is_current(database):
        return
    try:
        with database.engine.begin() as connection:
            _upgrade(connection)
    except DBAPIError as exc:
        if exc.orig is None or not isinstance(exc.orig, Exception):
            raise
        raise database.dialect.translate(exc.orig) from exc


def _upgrade(connection: Connection) -> None:
    """Under the lock, so what others have done meanwhile is seen."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    tables = inspect(connection).get_table_names()
    if not tables:
        _create(connection)
    elif _VERSION_TABLE not in tables or _revision(connection) != HEAD:
        _migrate(connection)


def _revision(connection: Connection) -> str | None:
    found = connection.execute(text(f"SELECT version_num FROM {_VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _create(connection: Connection) -> None:
    build_metadata(connection.dialect.name).create_all(connection)
    connection.execute(
        text(
            f"CREATE TABLE {_VERSION_TABLE} (version_num VARCHAR(32) NOT NULL, "
            f"CONSTRAINT {_VERSION_TABLE}_pkc PRIMARY KEY (version_num))"
        )
    )
    connection.execute(text(f"INSERT INTO {_VERSION_TABLE} VALUES (:head)"), {"head": HEAD})


def _migrate(connection: Connection) -> None:
    # Alembic takes a third of a second to import, so only those who need it pay for it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files(__package__).joinpath("migrations")))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
