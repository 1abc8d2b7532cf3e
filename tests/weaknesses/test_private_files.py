"""Whatever the umask, nobody else can read what the stores write (`spec/02 §15.4`, U-3)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.commands import CommandRecord, JsonFileCommandCursorStore, JsonlCommandStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.ledger_chain import HashChainedLedgerStore
from abstractruntime.storage.snapshots import JsonSnapshotStore, Snapshot
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.kernel.flows import done, flow
from tests.kernel.kernel import Kernel
from tests.storage.runs import a_record, a_run

pytestmark = [
    pytest.mark.weakness("spec/02 U-3"),
    pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes"),
]


@pytest.fixture(autouse=True)
def generous() -> Iterator[None]:
    """The most careless umask there is."""
    before = os.umask(0)
    yield
    os.umask(before)


def run_files(base: Path) -> None:
    Kernel(JsonFileRunStore(base), HashChainedLedgerStore(JsonlLedgerStore(base))).go(flow(done=done))
    JsonFileRunStore(base).list_runs()


def command_files(base: Path) -> None:
    JsonlCommandStore(base).append(CommandRecord("c", "r1", "pause", {}, ""))
    JsonFileCommandCursorStore(base / "deep" / "cursor.json").save(1)


def snapshot_files(base: Path) -> None:
    JsonSnapshotStore(base).save(Snapshot.from_run(run=a_run(), name="n"))


def artifact_files(base: Path) -> None:
    store = FileArtifactStore(base)
    store.delete(store.store(b"secret", run_id="r1").artifact_id)
    store.store(b"another")
    store.gc(dry_run=False)


def sqlite_file(base: Path) -> None:
    database = SqliteDatabase(base / "runs.db")
    SqliteRunStore(database).save(a_run())
    SqliteLedgerStore(database).append(a_record(a_run()))
    Kernel(SqliteRunStore(database), SqliteLedgerStore(database)).go(flow(done=done))
    assert (base / "runs.db-wal").exists()


@pytest.mark.parametrize("use", [run_files, command_files, snapshot_files, artifact_files, sqlite_file])
def test_files_and_folders_are_their_owners_alone(tmp_path: Path, use: Callable[[Path], None]) -> None:
    use(tmp_path / "made" / "by us")
    made = [tmp_path / "made", *(tmp_path / "made").rglob("*")]
    assert len(made) > 2
    for path in made:
        assert oct(stat.S_IMODE(path.stat().st_mode)) == ("0o700" if path.is_dir() else "0o600"), path
