"""Every port on every backend."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from abstractruntime.storage.checkpoints import CheckpointStore
from abstractruntime.storage.in_memory_checkpoints import InMemoryCheckpointStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database on each system in turn."""
    opened = open_database(database_url)
    migrate.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture
def sql_store(database: Database) -> SqlCheckpointStore:
    return SqlCheckpointStore(database)


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest) -> Iterator[CheckpointStore]:
    if request.param == "memory":
        yield InMemoryCheckpointStore(time.time)
        return
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    opened = open_database(request.getfixturevalue(fixture))
    migrate.upgrade(opened)
    yield SqlCheckpointStore(opened)
    opened.close()
