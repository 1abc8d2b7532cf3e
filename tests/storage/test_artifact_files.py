"""Artifacts in files: layout, damage, garbage, other processes (`spec/02 §10.6`, §15 D-6 to D-9, P-6)."""

from __future__ import annotations

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.storage import artifact_index, replaced_files
from abstractruntime.storage.artifacts import (
    CorruptArtifactError,
    FileArtifactStore,
    compute_artifact_id,
    compute_blob_id,
)


@pytest.fixture
def store(tmp_path: Path) -> FileArtifactStore:
    return FileArtifactStore(tmp_path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def write_legacy(root: Path, artifact_id: str, content: bytes, **fields: Any) -> None:
    data = {
        "artifact_id": artifact_id,
        "content_type": "text/plain",
        "size_bytes": len(content),
        "created_at": "2025-01-01T00:00:00+00:00",
        **fields,
    }
    (root / f"{artifact_id}.meta").write_text(json.dumps(data))
    (root / f"{artifact_id}.bin").write_bytes(content)


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir() if path.is_file()}


def test_layout(store: FileArtifactStore, root: Path) -> None:
    one, two = store.store(b"hello", run_id="r1"), store.store(b"hello", run_id="ü")
    assert names(root / "blobs") == {f"{compute_blob_id(b'hello')}.bin"}
    assert names(root / "refs") == {f"{one.artifact_id}.meta", f"{two.artifact_id}.meta"}
    assert (root / "blobs" / f"{one.blob_id}.bin").read_bytes() == b"hello"
    text = (root / "refs" / f"{two.artifact_id}.meta").read_text(encoding="utf-8")
    assert text == json.dumps(two.to_dict(), indent=2, ensure_ascii=False)


@pytest.mark.weakness("spec/02 U-3")
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_files_are_private(store: FileArtifactStore, root: Path) -> None:
    store.store(b"secret")
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_legacy_artifacts_are_read_listed_and_deleted(store: FileArtifactStore, root: Path) -> None:
    assert store.list_all() == []
    write_legacy(root, "old", b"text", run_id="r1")
    loaded = store.load("old")
    assert loaded is not None
    assert loaded.content == b"text"
    assert store.exists("old")
    assert [metadata.artifact_id for metadata in store.list_by_run("r1")] == ["old"]
    store.store(b"new", artifact_id="old", run_id="r2")  # refs come before legacy
    assert store.load_text("old") == "new"
    assert store.list_by_run("r1") == []
    assert [metadata.run_id for metadata in store.list_all()] == ["r2"]
    assert store.delete("old")
    assert not store.exists("old")
    assert not names(root) - {".lock"}


def test_other_instances_see_everything(store: FileArtifactStore, tmp_path: Path) -> None:
    other = FileArtifactStore(tmp_path)
    assert other.list_by_run("r") == []
    metadata = store.store(b"x", run_id="r")
    assert other.list_by_run("r") == [metadata]
    again = store.store(b"x", run_id="r", tags={"a": "1"})
    assert other.list_by_run("r") == other.list_all() == [again]
    other.delete(metadata.artifact_id)
    assert store.list_by_run("r") == store.list_all() == []


@pytest.mark.weakness("spec/02 P-6")
def test_listing_reads_only_what_changed(store: FileArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        store.store(bytes([number]), run_id=f"r{number}")
    store.list_by_run("r1")
    reads: list[Path] = []
    read = artifact_index.read_metadata
    monkeypatch.setattr(artifact_index, "read_metadata", lambda path: reads.append(path) or read(path))
    store.list_by_run("r2")
    assert reads == []
    store.store(b"new", run_id="r2")
    assert len(store.list_by_run("r2")) == 2
    assert len(reads) == 1


@pytest.mark.weakness("spec/02 D-8")
def test_no_blob_without_a_valid_id(store: FileArtifactStore, root: Path) -> None:
    with pytest.raises(ValueError, match="Invalid"):
        store.store(b"x", artifact_id="a/b")
    assert names(root / "blobs") == set()


def test_missing_content_is_no_artifact(store: FileArtifactStore, root: Path) -> None:
    metadata = store.store(b"x")
    (root / "blobs" / f"{metadata.blob_id}.bin").unlink()
    assert store.load(metadata.artifact_id) is None
    assert not store.exists(metadata.artifact_id)
    assert store.get_metadata(metadata.artifact_id) == metadata


@pytest.mark.weakness("spec/02 D-9")
@pytest.mark.parametrize("damage", [b"Xello", b"", b"hello and more"])
def test_damaged_content_is_noticed_and_repaired(store: FileArtifactStore, root: Path, damage: bytes) -> None:
    metadata = store.store(b"hello")
    (root / "blobs" / f"{metadata.blob_id}.bin").write_bytes(damage)
    with pytest.raises(CorruptArtifactError, match=metadata.artifact_id):
        store.load(metadata.artifact_id)
    store.store(b"hello", run_id="another")
    assert store.load_text(metadata.artifact_id) == "hello"


@pytest.mark.weakness("spec/02 D-7")
@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"artifact_id": "a', json.JSONDecodeError),
        ("", json.JSONDecodeError),
        ("[]", CorruptArtifactError),
        ('{"artifact_id": "a"}', CorruptArtifactError),
    ],
)
def test_damaged_metadata(
    store: FileArtifactStore,
    root: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
    error: type[Exception],
) -> None:
    bad, good = store.store(b"bad", run_id="r"), store.store(b"good", run_id="r")
    path = root / "refs" / f"{bad.artifact_id}.meta"
    path.write_text(text)
    for use in (store.load, store.get_metadata, store.exists):
        with pytest.raises(error):
            use(bad.artifact_id)
    assert store.list_by_run("r") == store.list_all() == store.search(run_id="r") == [good]
    assert path.name in caplog.text
    # What the damaged file names is unknown, so nothing may go.
    store.delete(good.artifact_id)
    report = store.gc(dry_run=False)
    assert (report["blobs_deleted"], report["blobs_total"]) == (0, 2)
    assert bad.artifact_id in report["errors"][0]["error"]
    # Storing again mends it.
    assert store.store(b"bad", run_id="r").artifact_id == bad.artifact_id
    assert store.load_text(bad.artifact_id) == "bad"
    assert store.gc(dry_run=False)["blobs_deleted"] == 1


@pytest.mark.weakness("spec/02 D-6")
def test_metadata_is_replaced_at_once(
    store: FileArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = store.store(b"x", tags={"a": "1"})

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(replaced_files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.store(b"x", tags={"a": "2"})
    monkeypatch.undo()
    assert store.get_metadata(first.artifact_id) == first
    assert not list(root.rglob("*.tmp"))


def test_gc(store: FileArtifactStore, root: Path) -> None:
    shared, gone = store.store(b"shared", run_id="r1"), store.store(b"gone", run_id="r1")
    store.store(b"shared", run_id="r2")
    (root / "blobs" / "x.bin.0123.tmp").write_bytes(b"unfinished")
    assert store.delete_by_run("r1") == 2
    expected = {
        "dry_run": True,
        "blobs_total": 2,
        "blobs_referenced": 1,
        "blobs_deleted": 1,
        "bytes_reclaimed": 4,
        "errors": [],
    }
    assert store.gc() == expected
    assert (root / "blobs" / f"{gone.blob_id}.bin").exists()
    assert store.gc(dry_run=False) == {**expected, "dry_run": False}
    assert names(root / "blobs") == {f"{shared.blob_id}.bin", "x.bin.0123.tmp"}


@pytest.mark.weakness("spec/02 D-7")
def test_gc_beside_stores_takes_nothing_that_lives(store: FileArtifactStore, tmp_path: Path) -> None:
    def store_and_delete(number: int) -> None:
        mine = FileArtifactStore(tmp_path)
        for _ in range(15):
            mine.delete(mine.store(b"same", run_id=str(number)).artifact_id)
            kept = mine.store(b"same", run_id=f"kept {number}")
            assert mine.load_text(kept.artifact_id) == "same"
            mine.delete(kept.artifact_id)

    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(store_and_delete, number) for number in range(3)]
        while not all(worker.done() for worker in workers):
            store.gc(dry_run=False)
        for worker in workers:
            worker.result()
    assert store.gc(dry_run=False)["errors"] == []
    assert compute_artifact_id(b"same") not in names(tmp_path / "artifacts" / "refs")
