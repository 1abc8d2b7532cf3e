"""Each kind of store in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.storage.artifacts import FileArtifactStore, InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.snapshots import InMemorySnapshotStore, JsonSnapshotStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from tests.retention.stores import Stores


@pytest.fixture
def sql_database(database_url: str) -> Iterator[Database]:
    opened = open_database(database_url)
    migrate.upgrade(opened)
    yield opened
    opened.close()


@pytest.fixture(params=["memory", "json", "sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "memory":
        yield Stores(
            InMemoryRunStore(), InMemoryLedgerStore(), InMemoryArtifactStore(), InMemorySnapshotStore()
        )
        return
    folder = tmp_path / "stores"
    files = FileArtifactStore(folder), JsonSnapshotStore(folder)
    if request.param == "json":
        yield Stores(JsonFileRunStore(folder), JsonlLedgerStore(folder), *files, folder)
        return
    url = request.getfixturevalue({"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param])
    database = open_database(url)
    migrate.upgrade(database)
    yield Stores(SqlRunStore(database), SqlLedgerStore(database), *files, folder)
    database.close()
