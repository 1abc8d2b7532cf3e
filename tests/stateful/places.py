"""Where worlds keep their runs: every kind of store, bare and decorated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore
from abstractruntime.storage.offloading import OffloadingLedgerStore, OffloadingRunStore
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from .worlds import Opened

MAX_INLINE_BYTES = 100

Opening = Callable[[], Opened]


def memory() -> Opening:
    """Lives as long as the world: only the runtime is a new one after `World.reopen`."""
    runs, ledger = InMemoryRunStore(), InMemoryLedgerStore()
    return lambda: Opened(runs, ledger)


def files(directory: Path) -> Opening:
    return lambda: Opened(JsonFileRunStore(directory), JsonlLedgerStore(directory))


def sqlite(file: Path, template: Path) -> Opening:
    """A copy of an empty database: making one takes longer than everything else in an example."""
    if not template.exists():
        SqliteDatabase(template).close()
    shutil.copy(template, file)

    def opened() -> Opened:
        database = SqliteDatabase(file)
        return Opened(SqliteRunStore(database), SqliteLedgerStore(database), close=database.close)

    return opened


def postgres(database: Database) -> Opening:
    """An emptied database. One is enough for all examples of a test."""
    with database.transaction() as session:
        tables = "runs, ledger, ledger_heads, wait_keys"
        session.execute(_Text(f"TRUNCATE {tables}"))  # type: ignore[arg-type]
    return lambda: Opened(SqlRunStore(database), SqlLedgerStore(database))


class _Text:
    """A statement of the test's own."""

    def __init__(self, sql: str) -> None:
        self.postgresql = self.sqlite = sql


def decorated(inside: Opening) -> Opening:
    """``Observable(Offloading(HashChained(store)))`` that moves away everything longer than a line."""
    artifacts = InMemoryArtifactStore()

    def opened() -> Opened:
        bare = inside()
        chained = HashChainedLedgerStore(bare.ledger)
        offloading = OffloadingLedgerStore(
            chained, artifact_store=artifacts, max_inline_bytes=MAX_INLINE_BYTES
        )
        runs = OffloadingRunStore(bare.runs, artifact_store=artifacts, max_inline_bytes=MAX_INLINE_BYTES)
        return replace(bare, runs=runs, ledger=ObservableLedgerStore(offloading), artifacts=artifacts)

    return opened
