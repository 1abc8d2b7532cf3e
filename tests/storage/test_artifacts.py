"""Artifacts: ids, references and what all stores do (`spec/02 §10`)."""

from __future__ import annotations

import inspect
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.storage.artifacts import (
    Artifact,
    ArtifactMetadata,
    ArtifactStore,
    FileArtifactStore,
    InMemoryArtifactStore,
    artifact_ref,
    compute_artifact_id,
    compute_blob_id,
    get_artifact_id,
    is_artifact_ref,
    resolve_artifact,
    validate_artifact_id,
)
from abstractruntime.storage.object_artifacts import ObjectArtifactStore
from abstractruntime.storage.scoped_artifacts import ScopedArtifacts
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sqlite import SqliteArtifactStore, SqliteDatabase

BLOB = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
BAD_IDS = ["", "a/b", "a.b", "../x", "a\n", "ä", "a b"]


@pytest.fixture(params=["memory", "files", "sqlite", "postgresql", "objects-memory", "objects-directory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ArtifactStore]:
    if request.param == "memory":
        yield InMemoryArtifactStore()
    elif request.param == "files":
        yield FileArtifactStore(tmp_path)
    elif request.param == "sqlite":
        door = SqliteDatabase(tmp_path / "runs.db")
        yield SqliteArtifactStore(door)
        door.close()
    elif request.param.startswith("objects"):
        pytest.importorskip("obstore", reason="object stores need obstore: install abstractruntime[objects]")
        directory = (tmp_path / "bucket").as_uri()
        url = "memory:///" if request.param == "objects-memory" else directory
        yield ObjectArtifactStore.from_url(url)
    else:
        database = open_database(request.getfixturevalue("postgres_url"))
        migrate.upgrade(database)
        yield SqlArtifactStore(database)
        database.close()


Collecting = FileArtifactStore | SqlArtifactStore | ObjectArtifactStore


@pytest.fixture
def collecting(store: ArtifactStore) -> Collecting:
    """A store that keeps equal contents once, and so has something to collect."""
    if not isinstance(store, Collecting):
        pytest.skip("keeps a content of its own for each artifact")
    return store


def test_ids_are_the_published_ones() -> None:
    assert compute_artifact_id(b"hello") == compute_artifact_id(b"hello", run_id=" ") == BLOB[:32]
    assert compute_artifact_id(b"hello", run_id=" r1 ") == "a657ed913ae17d93e7df24ed58885509"
    assert compute_blob_id(b"hello") == BLOB


@pytest.mark.weakness("spec/02 U-2")
@pytest.mark.parametrize("bad", BAD_IDS)
def test_bad_ids_are_refused_everywhere(store: ArtifactStore, bad: str) -> None:
    message = "cannot be empty" if not bad else "^Invalid artifact_id '"
    for use in (validate_artifact_id, store.load, store.exists, store.delete, store.get_metadata):
        with pytest.raises(ValueError, match=message):
            use(bad)
    with pytest.raises(ValueError, match=message):
        store.store(b"x", artifact_id=bad)
    assert store.list_all() == []


@pytest.mark.weakness("spec/02 U-1")
@pytest.mark.weakness("spec/02 U-6")
def test_an_over_long_id_is_refused_everywhere_alike(store: ArtifactStore) -> None:
    longest, longer = "a" * 200, "a" * 201
    store.store(b"x", artifact_id=longest)
    assert store.load_text(longest) == "x"
    for use in (
        validate_artifact_id,
        store.load,
        store.exists,
        store.delete,
        store.get_metadata,
        lambda artifact_id: store.store(b"y", artifact_id=artifact_id),
    ):
        with pytest.raises(ValueError, match=r"^Invalid artifact_id 'a{40}…': 201 characters, at most 200"):
            use(longer)
    assert [metadata.artifact_id for metadata in store.list_all()] == [longest]


def test_references() -> None:
    ref = artifact_ref("a1")
    assert ref == {"$artifact": "a1"}
    assert is_artifact_ref({"$artifact": None, "other": 1})
    assert not is_artifact_ref("a1")
    assert get_artifact_id(ref) == "a1"
    with pytest.raises(KeyError):
        get_artifact_id({})


def test_metadata_form() -> None:
    data: dict[str, Any] = {"artifact_id": "a", "content_type": "t", "size_bytes": 1, "created_at": "now"}
    metadata = ArtifactMetadata.from_dict({**data, "tags": None})
    assert metadata.to_dict() == {**data, "blob_id": None, "run_id": None, "tags": {}}
    assert list(metadata.to_dict())[-3:] == ["blob_id", "run_id", "tags"]
    for key in data:
        with pytest.raises(KeyError):
            ArtifactMetadata.from_dict({name: value for name, value in data.items() if name != key})


@pytest.mark.parametrize("content", [b"", bytes(range(256)), "grüß".encode()])
def test_what_is_stored_comes_back(store: ArtifactStore, content: bytes) -> None:
    metadata = store.store(content, content_type="text/x", run_id="r1", tags={"a": "1"})
    assert metadata.size_bytes == len(content)
    assert metadata.blob_id == compute_blob_id(content)
    assert store.load(metadata.artifact_id) == Artifact(metadata, content)
    assert store.get_metadata(metadata.artifact_id) == metadata
    assert store.exists(metadata.artifact_id)
    assert resolve_artifact(artifact_ref(metadata.artifact_id), store) == Artifact(metadata, content)
    assert resolve_artifact("no ref", store) is None


def test_only_bytes_are_content(store: ArtifactStore) -> None:
    text: Any = "text"
    with pytest.raises(TypeError):
        store.store(text)
    mutable = bytearray(b"ab")
    kept = store.store(mutable)
    mutable[0] = 0
    loaded = store.load(kept.artifact_id)
    assert loaded is not None
    assert loaded.content == b"ab"


def test_unknown_artifacts(store: ArtifactStore) -> None:
    assert store.load("unknown") is None
    assert store.get_metadata("unknown") is None
    assert not store.exists("unknown")
    assert not store.delete("unknown")
    assert store.load_text("unknown") is store.load_json("unknown") is None
    assert store.list_by_run("unknown") == []
    assert store.delete_by_run("unknown") == 0


@pytest.mark.weakness("spec/02 D-11")
def test_same_content_again_loses_nothing(store: ArtifactStore) -> None:
    first = store.store(b"x", content_type="text/plain", run_id="r", tags={"a": "1", "b": "1"})
    between = store.store(b"y", run_id="r")
    again = store.store(b"x", run_id="r", tags={"b": "2"})
    assert again.artifact_id == first.artifact_id
    assert store.get_metadata(first.artifact_id) == again
    assert again.content_type == "text/plain"  # nobody said another one
    assert again.tags == {"a": "1", "b": "2"}
    assert first.created_at < between.created_at < again.created_at
    assert store.list_all() == store.search(run_id="r") == [again, between]
    assert store.store(b"x", content_type="text/html", run_id="r").content_type == "text/html"
    octets = store.store(b"x", content_type="application/octet-stream", run_id="r")
    assert octets.content_type == "application/octet-stream"  # this time somebody said so
    found = store.get_metadata(first.artifact_id)
    assert found == octets
    assert type(octets.content_type) is str
    other = store.store(b"x", run_id="r2")
    assert type(other.content_type) is str
    assert other.artifact_id != first.artifact_id
    assert other.blob_id == first.blob_id


@pytest.mark.weakness("spec/02 D-11")
def test_a_door_passes_on_that_no_type_was_said(store: ArtifactStore) -> None:
    first = store.store(b"x", content_type="text/plain", run_id="r")
    assert ScopedArtifacts(store, ["r"]).store(b"x", run_id="r").content_type == "text/plain"
    for kind in (ArtifactStore, type(store)):
        default = inspect.signature(kind.store).parameters["content_type"].default
        assert (default, repr(default)) == ("application/octet-stream", "'application/octet-stream'")
    assert store.exists(first.artifact_id)


def test_explicit_id_replaces(store: ArtifactStore) -> None:
    store.store(b"old", run_id="r1", tags={"a": "1"}, artifact_id="mine")
    store.store(b"new", run_id="r2", tags={"b": "1"}, artifact_id="mine")
    loaded = store.load("mine")
    assert loaded is not None
    assert (loaded.content, loaded.metadata.run_id, loaded.metadata.tags) == (b"new", "r2", {"b": "1"})
    assert store.list_by_run("r1") == []
    assert [metadata.artifact_id for metadata in store.list_by_run("r2")] == ["mine"]


def test_text_and_json(store: ArtifactStore) -> None:
    text = store.store_text("grüß", run_id="r")
    data = store.store_json({"ü": [1, None]}, run_id="r")
    assert (text.content_type, data.content_type) == ("text/plain", "application/json")
    assert store.load_text(text.artifact_id) == "grüß"
    assert store.load_text(data.artifact_id) == '{"ü":[1,null]}'
    assert store.load_json(data.artifact_id) == {"ü": [1, None]}
    with pytest.raises(json.JSONDecodeError):
        store.load_json(text.artifact_id)
    with pytest.raises(TypeError):
        store.store_json({"x": object()})


def test_listing_and_search(store: ArtifactStore) -> None:
    ids = [
        store.store(bytes([number]), run_id=f"r{number % 2}", tags={"n": str(number)}).artifact_id
        for number in range(6)
    ]
    assert [metadata.artifact_id for metadata in store.list_all()] == ids[::-1]
    assert [metadata.artifact_id for metadata in store.list_all(limit=2)] == ids[:3:-1]
    assert [metadata.artifact_id for metadata in store.list_by_run("r0")] == ids[::2]
    # The oldest one matches: a limit must not cut before the filter.
    assert [metadata.artifact_id for metadata in store.search(tags={"n": "0"}, limit=1)] == ids[:1]
    assert [metadata.artifact_id for metadata in store.search(run_id="r1", limit=2)] == [ids[5], ids[3]]
    assert store.search(run_id="r1", tags={"n": "0"}) == []
    assert store.search(content_type="text/plain") == []
    assert store.delete_by_run("r0") == 3
    assert [metadata.artifact_id for metadata in store.list_all()] == [ids[5], ids[3], ids[1]]


def test_callers_get_copies(store: ArtifactStore) -> None:
    tags = {"a": "1"}
    artifact_id = store.store(b"x", run_id="r", tags=tags).artifact_id
    tags["a"] = "2"
    for found in (*store.list_by_run("r"), *store.list_all(), store.get_metadata(artifact_id)):
        assert found is not None
        found.tags["a"] = "3"
    assert store.search(tags={"a": "1"}) == store.list_all()
    assert store.list_by_run("r")[0].tags == {"a": "1"}


def test_gc_removes_what_nothing_names_and_nothing_else(collecting: Collecting) -> None:
    gone, shared = collecting.store(b"gone!", run_id="r1"), collecting.store(b"shared", run_id="r1")
    other = collecting.store(b"shared", run_id="r2")
    assert collecting.delete(gone.artifact_id)
    assert collecting.delete(shared.artifact_id)
    report = {"blobs_total": 2, "blobs_referenced": 1, "blobs_deleted": 1, "bytes_reclaimed": 5, "errors": []}
    assert collecting.gc() == {"dry_run": True, **report}
    assert collecting.gc(dry_run=False) == {"dry_run": False, **report}
    assert collecting.load_text(other.artifact_id) == "shared"
    assert collecting.gc()["blobs_total"] == 1
    assert collecting.store(b"gone!", run_id="r1").artifact_id == gone.artifact_id
    assert collecting.load_text(gone.artifact_id) == "gone!"


@pytest.mark.weakness("spec/02 D-7")
def test_gc_beside_stores_takes_nothing_that_is_named(collecting: Collecting) -> None:
    errors: list[BaseException] = []
    done = threading.Event()

    def collect() -> None:
        try:
            while not done.is_set():
                collecting.gc(dry_run=False)
        except BaseException as exc:  # reported below
            errors.append(exc)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for number in range(40):
            # The content is garbage whenever the artifact is deleted, and named again at once.
            kept = collecting.store(b"the same", run_id="r", tags={"n": str(number)})
            assert collecting.load(kept.artifact_id) is not None
            collecting.delete(kept.artifact_id)
    finally:
        done.set()
        collector.join()
    assert errors == []


def test_stores_of_one_artifact_at_once_lose_no_tags(store: ArtifactStore) -> None:
    threads = [
        threading.Thread(target=lambda n=n: store.store(b"x", run_id="r", tags={f"t{n}": "1"}))  # type: ignore[misc]
        for n in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (metadata,) = store.list_by_run("r")
    assert metadata.tags == {f"t{n}": "1" for n in range(6)}
