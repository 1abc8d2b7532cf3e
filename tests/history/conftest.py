"""Histories in every kind of store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime import (
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    JsonlLedgerStore,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
)

from .histories import PlainLedgerStore, Stores


@pytest.fixture(params=["memory", "plain ledger", "files", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stores]:
    if request.param == "sqlite":
        database = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield Stores(SqliteRunStore(database), SqliteLedgerStore(database))
        return
    if request.param == "files":
        yield Stores(JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path))
        return
    ledger = InMemoryLedgerStore() if request.param == "memory" else PlainLedgerStore()
    yield Stores(InMemoryRunStore(), ledger)
