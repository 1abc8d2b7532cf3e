"""The stores that are killed: runs, ledger, commands, artifacts of one kind in one directory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.commands import CommandStore, JsonlCommandStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.sqlite import (
    SqliteCommandStore,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
)

KINDS = ("files", "sqlite")


@dataclass
class Place:
    """Store objects of one process over one directory."""

    runs: Any
    ledger: Any
    commands: CommandStore
    artifacts: FileArtifactStore
    close: Callable[[], None] = lambda: None


def open_place(kind: str, directory: Path) -> Place:
    """What a process that begins has."""
    artifacts = FileArtifactStore(directory)
    if kind == "files":
        ledger = HashChainedLedgerStore(JsonlLedgerStore(directory))
        return Place(JsonFileRunStore(directory), ledger, JsonlCommandStore(directory), artifacts)
    database = SqliteDatabase(directory / "runs.sqlite3")
    return Place(
        SqliteRunStore(database),
        HashChainedLedgerStore(SqliteLedgerStore(database)),
        SqliteCommandStore(database),
        artifacts,
        database.close,
    )
