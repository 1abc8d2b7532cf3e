"""What a store promises against a power cut it must have asked the disk for (`spec/02 §15.2`, D-3)."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.commands import CommandRecord, JsonlCommandStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.snapshots import JsonSnapshotStore, Snapshot
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteRunStore
from tests.storage.runs import a_record, a_run

pytestmark = pytest.mark.weakness("spec/02 D-3")


class Disk:
    """Keeps the order of what is flushed and renamed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        fsync, replace = os.fsync, os.replace

        def flushing(fd: int) -> None:
            self.did.append("folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
            fsync(fd)

        def renaming(old: str | Path, new: str | Path) -> None:
            self.did.append("rename")
            replace(old, new)

        monkeypatch.setattr(os, "fsync", flushing)
        monkeypatch.setattr(os, "replace", renaming)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def run_saved(base: Path, fsync: bool) -> None:
    JsonFileRunStore(base, fsync=fsync).save(a_run())


def record_appended(base: Path, fsync: bool) -> None:
    JsonlLedgerStore(base, fsync=fsync).append(a_record(a_run()))


def command_accepted(base: Path, fsync: bool) -> None:
    JsonlCommandStore(base, fsync=fsync).append(CommandRecord("c", "r1", "pause", {}, ""))


@pytest.mark.parametrize(
    ("write", "flushed"),
    [
        (run_saved, ["file", "rename", "folder"]),
        (record_appended, ["file", "folder"]),
        (command_accepted, ["file", "folder"]),
    ],
)
def test_files_that_are_written_often_survive_on_request(
    tmp_path: Path, disk: Disk, write: Callable[[Path, bool], None], flushed: list[str]
) -> None:
    write(tmp_path / "no", False)
    assert [what for what in disk.did if what != "rename"] == []
    disk.did.clear()
    write(tmp_path / "yes", True)
    assert disk.did == flushed


def test_a_record_in_a_file_that_is_there_costs_one_flush(tmp_path: Path, disk: Disk) -> None:
    record_appended(tmp_path, True)
    disk.did.clear()
    record_appended(tmp_path, True)
    assert disk.did == ["file"]


def test_snapshots_and_artifacts_always_survive(tmp_path: Path, disk: Disk) -> None:
    JsonSnapshotStore(tmp_path).save(Snapshot.from_run(run=a_run(), name="n"))
    assert disk.did == ["file", "rename", "folder"]
    disk.did.clear()
    FileArtifactStore(tmp_path).store(b"content")
    assert disk.did == ["file", "rename", "folder"] * 2  # content, then what names it


@pytest.mark.parametrize(("given", "level"), [("NORMAL", 1), ("FULL", 2), ("extra", 3)])
def test_sqlite_has_levels(tmp_path: Path, given: str, level: int) -> None:
    database = SqliteDatabase(tmp_path / "runs.db", synchronous=given)
    SqliteRunStore(database).save(a_run())
    session = database.database.take()
    used = session.connection.execute("PRAGMA synchronous", {}).fetchone()
    database.database.give(session)
    assert (used[0], database.connection().execute("PRAGMA synchronous").fetchone()[0]) == (level, level)
    database.close()
    with pytest.raises(ConfigurationError, match="synchronous"):
        SqliteDatabase(tmp_path / "runs.db", synchronous="OFF")
