"""Make and drop databases on a PostgreSQL server: a fresh one per test."""

from __future__ import annotations

from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

__all__ = ["create_database", "drop_database", "postgres_url"]


def postgres_url(url: str) -> URL:
    """Any PostgreSQL URL (`postgres://`, `postgresql://`, `postgresql+...://`) as one for psycopg 3.

    Raises ValueError for a URL of another database system.
    """
    parsed = make_url(
        url.replace("postgres://", "postgresql://", 1) if url.startswith("postgres://") else url
    )
    if parsed.get_backend_name() != "postgresql":
        raise ValueError(f"Not a PostgreSQL URL: {parsed.render_as_string(hide_password=True)}")
    return parsed.set(drivername="postgresql+psycopg")


def create_database(server_url: str, name: str, *, template: str = "template1") -> str:
    """Create a database as a copy of `template` and return its URL.

    server_url: any database of the server, as a role that may create databases. A template must have no open
    connection. SQLAlchemy's errors pass through.
    """
    _execute(server_url, "CREATE DATABASE {} TEMPLATE {}", name, template)
    return postgres_url(server_url).set(database=name).render_as_string(hide_password=False)


def drop_database(server_url: str, name: str) -> None:
    """Drop a database and cut its connections; no-op when it does not exist."""
    _execute(server_url, "DROP DATABASE IF EXISTS {} WITH (FORCE)", name)


def _execute(server_url: str, statement: str, *names: str) -> None:
    engine = create_engine(postgres_url(server_url), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        quote = engine.dialect.identifier_preparer.quote_identifier
        with engine.connect() as connection:
            connection.execute(text(statement.format(*map(quote, names))))
    finally:
        engine.dispose()
