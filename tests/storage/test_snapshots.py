"""Snapshots in memory, files and databases (`spec/02 §11`, §15 D-6, U-1)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.storage import replaced_files
from abstractruntime.storage.in_memory import InMemoryRunStore
from abstractruntime.storage.snapshots import (
    CorruptSnapshotError,
    InMemorySnapshotStore,
    JsonSnapshotStore,
    Snapshot,
    SnapshotStore,
)
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.snapshot_store import SqlSnapshotStore
from abstractruntime.storage.sql.statements import statement
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteSnapshotStore

from .runs import a_run, waiting_for


@pytest.fixture(params=["memory", "files", "sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SnapshotStore]:
    if request.param == "memory":
        yield InMemorySnapshotStore()
    elif request.param == "files":
        yield JsonSnapshotStore(tmp_path / "s")
    elif request.param == "sqlite":
        door = SqliteDatabase(tmp_path / "runs.db")
        yield SqliteSnapshotStore(door)
        door.close()
    else:
        database = open_database(request.getfixturevalue("postgres_url"))
        migrate.upgrade(database)
        yield SqlSnapshotStore(database)
        database.close()


def test_run_goes_in_and_comes_back(store: SnapshotStore) -> None:
    run = waiting_for(a_run(), "key")
    expected = json.loads(json.dumps(run.to_dict()))
    snapshot = Snapshot.from_run(run=run, name="before", description="d", tags=["a"], step_id="s1")
    assert type(snapshot.run_state["status"]) is str
    assert type(snapshot.run_state["waiting"]["reason"]) is str
    run.vars["n"].append("later")
    store.save(snapshot)
    loaded = store.load(snapshot.snapshot_id)
    assert loaded == snapshot
    assert loaded is not None
    assert loaded.run_state == expected
    runs = InMemoryRunStore()
    runs.save(loaded.to_run())
    restored = runs.load("r1")
    assert restored is not None
    assert restored.status is RunStatus.WAITING
    assert restored.to_dict() == expected


def test_save_stamps_and_replaces(store: SnapshotStore) -> None:
    snapshot = Snapshot("s", "r1", updated_at="old")
    store.save(snapshot)
    assert snapshot.updated_at != "old"
    snapshot.name = "new"
    store.save(snapshot)
    (found,) = store.list()
    assert found.name == "new"
    assert store.delete("s")
    assert not store.delete("s")
    assert store.load("s") is None


def test_filters(store: SnapshotStore) -> None:
    for number in range(4):
        store.save(
            Snapshot(
                f"s{number}",
                f"r{number % 2}",
                name=f"Name {number}",
                description=None if number else "Überblick",
                tags=["Even", "x"] if number % 2 == 0 else [],
                created_at=f"2026-01-0{number + 1}",
            )
        )

    def ids(**filters: object) -> list[str]:
        return [snapshot.snapshot_id for snapshot in store.list(**filters)]  # type: ignore[arg-type]

    assert ids() == ids(run_id="", tag="", query="") == ["s3", "s2", "s1", "s0"]
    assert ids(run_id="r1") == ["s3", "s1"]
    assert ids(tag="EVEN") == ["s2", "s0"]
    assert ids(tag="eve") == []
    assert ids(query="überBLICK") == ["s0"]
    assert ids(query="name", tag="x", run_id="r0", limit=1) == ["s2"]
    assert ids(limit=0) == ids(limit=-1) == []


@pytest.mark.weakness("spec/02 U-1")
@pytest.mark.parametrize("bad", ["", "a/b", "../x", "a\n", "x" * 300])
def test_bad_ids_are_refused(store: SnapshotStore, bad: str) -> None:
    for use in (store.load, store.delete):
        with pytest.raises(ValueError, match="snapshot_id"):
            use(bad)
    with pytest.raises(ValueError, match="snapshot_id"):
        store.save(Snapshot(bad, "r1"))


def test_memory_keeps_and_returns_the_same_objects() -> None:
    store = InMemorySnapshotStore()
    run = a_run()
    run.vars["odd"] = {1, 2}
    snapshot = Snapshot.from_run(run=run, name="odd")
    store.save(snapshot)
    assert store.load(snapshot.snapshot_id) is snapshot
    assert [id(found) for found in store.list()] == [id(snapshot)]
    assert snapshot.to_run().vars["odd"] == {1, 2}


@pytest.mark.weakness("spec/02 S-7")
def test_others_keep_copies(store: SnapshotStore) -> None:
    if isinstance(store, InMemorySnapshotStore):
        pytest.skip("keeps the objects themselves (spec/02 §11)")
    snapshot = Snapshot("s", "r1")
    store.save(snapshot)
    snapshot.tags.append("not saved")
    found = store.load("s")
    assert found is not None
    assert found.tags == []


def test_what_is_not_json_is_refused(store: SnapshotStore) -> None:
    if isinstance(store, InMemorySnapshotStore):
        pytest.skip("encodes nothing")
    with pytest.raises(TypeError):
        store.save(Snapshot("s", "r1", run_state={"x": object()}))
    assert store.list() == []


def test_file_form(tmp_path: Path) -> None:
    JsonSnapshotStore(tmp_path).save(snapshot := Snapshot("s", "r1", name="ü"))
    text = (tmp_path / "snapshot_s.json").read_text(encoding="utf-8")
    assert text == json.dumps(vars(snapshot), indent=2, ensure_ascii=False)
    (tmp_path / "snapshot_t.json").write_text('{"snapshot_id": "t", "run_id": "r1"}')
    loaded = JsonSnapshotStore(tmp_path).load("t")
    assert loaded is not None
    assert (loaded.name, loaded.tags, loaded.run_state, loaded.step_id) == ("", [], {}, None)


def test_damaged_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = JsonSnapshotStore(tmp_path)
    store.save(Snapshot("good", "r1"))
    (tmp_path / "snapshot_cut.json").write_text('{"snapshot_id": "c')
    (tmp_path / "snapshot_odd.json").write_text("[]")
    with pytest.raises(json.JSONDecodeError):
        store.load("cut")
    with pytest.raises(CorruptSnapshotError, match=r"snapshot_odd\.json"):
        store.load("odd")
    assert [snapshot.snapshot_id for snapshot in store.list()] == ["good"]
    assert "snapshot_cut.json" in caplog.text


@pytest.mark.weakness("spec/02 D-6")
def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JsonSnapshotStore(tmp_path)
    store.save(Snapshot("s", "r1", name="old"))

    def fail(source: object, target: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(replaced_files.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.save(Snapshot("s", "r1", name="new"))
    monkeypatch.undo()
    assert [snapshot.name for snapshot in store.list()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["snapshot_s.json"]


@pytest.mark.parametrize("column", ["tags_json", "run_state_json"])
def test_damaged_rows(database: Database, column: str, caplog: pytest.LogCaptureFixture) -> None:
    store = SqlSnapshotStore(database)
    store.save(Snapshot("good", "r1"))
    store.save(Snapshot("bad", "r1"))
    with database.transaction() as session:
        session.execute(statement(f"UPDATE snapshots SET {column} = '5' WHERE snapshot_id = 'bad'"))
    with pytest.raises(CorruptSnapshotError, match="bad"):
        store.load("bad")
    assert [snapshot.snapshot_id for snapshot in store.list()] == ["good"]
    assert "bad" in caplog.text


def test_a_listing_reads_only_the_states_it_returns(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = SqlSnapshotStore(database)
    for number in range(20):
        store.save(
            Snapshot(f"s{number:02}", "r1", name=f"Nr. {number}", created_at=f"2026-01-{number + 1:02}")
        )
    loaded: list[str] = []
    load = store.load
    monkeypatch.setattr(store, "load", lambda snapshot_id: loaded.append(snapshot_id) or load(snapshot_id))
    assert [snapshot.snapshot_id for snapshot in store.list(query="NR. 1", limit=2)] == ["s19", "s18"]
    assert loaded == ["s19", "s18"]
