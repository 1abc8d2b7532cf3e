"""Every kernel test runs on the in-memory stores, on bare contract stores and on a SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore

from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore
from .recording import Recorder

settings.register_profile("kernel", deadline=None)  # a busy machine is no failure
settings.load_profile("kernel")


@pytest.fixture(autouse=True)
def _no_grounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Payloads are as nodes made them, also where AbstractCore is installed."""
    monkeypatch.setenv("ABSTRACTRUNTIME_GROUNDING", "off")


@pytest.fixture(params=["memory", "plain", "json", "sqlite"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Any, Any]]:
    """A run store and its ledger store."""
    if request.param == "memory":
        yield InMemoryRunStore(), InMemoryLedgerStore()
    elif request.param == "plain":
        yield PlainRunStore(), PlainLedgerStore()
    elif request.param == "json":
        yield JsonFileRunStore(tmp_path), JsonlLedgerStore(tmp_path)
    else:
        database = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield SqliteRunStore(database), SqliteLedgerStore(database)
        database.close()


@pytest.fixture
def kernel(stores: tuple[Any, Any]) -> Kernel:
    return Kernel(*stores)


@pytest.fixture
def recorder(stores: tuple[Any, Any]) -> Recorder:
    return Recorder(*stores)


@pytest.fixture
def recorded(recorder: Recorder) -> Kernel:
    """A kernel whose writes `recorder` sees."""
    return Kernel(recorder.run_store, recorder.ledger_store)
