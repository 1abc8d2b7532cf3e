"""Artifacts, snapshots, commands and cursors written by hand (`spec/02 §7.4`, §10.6, §11)."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from abstractruntime.core.runtime import Runtime
from abstractruntime.history_bundle import export_run_history_bundle, persist_workflow_snapshot
from abstractruntime.storage.artifacts import FileArtifactStore, artifact_ref, resolve_artifact
from abstractruntime.storage.commands import CommandRecord, JsonFileCommandCursorStore, JsonlCommandStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.snapshots import JsonSnapshotStore
from abstractruntime.storage.sqlite import SqliteCommandCursorStore, SqliteCommandStore, SqliteDatabase

from .old_data import run, waiting
from .stored_form import check_run, read_files, write_files

HELLO = b"hello"
HELLO_OF_R1 = "a657ed913ae17d93e7df24ed58885509"
HELLO_BLOB = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
"""The contract's vectors for ``b"hello"``."""


def _meta(artifact_id: str, **other: Any) -> str:
    data = {
        "artifact_id": artifact_id,
        "content_type": "text/plain",
        "size_bytes": 5,
        "created_at": "2025-01-01T00:00:00+00:00",
        "blob_id": None,
        "run_id": "r1",
        "tags": {"kind": "text"},
        **other,
    }
    return json.dumps(data, ensure_ascii=False, indent=2)


def _write_artifacts(directory: Path) -> Path:
    root = directory / "artifacts"
    (root / "refs").mkdir(parents=True)
    (root / "blobs").mkdir()
    (root / "blobs" / f"{HELLO_BLOB}.bin").write_bytes(HELLO)
    (root / "refs" / f"{HELLO_OF_R1}.meta").write_text(_meta(HELLO_OF_R1, blob_id=HELLO_BLOB))
    (root / "legacy-1.bin").write_bytes("früher".encode())
    (root / "legacy-1.meta").write_text(_meta("legacy-1", created_at="2024-01-01T00:00:00+00:00", tags=None))
    return root


def test_artifacts_of_both_layouts(tmp_path: Path) -> None:
    root = _write_artifacts(tmp_path)
    store = FileArtifactStore(tmp_path)
    assert store.load_text(HELLO_OF_R1) == "hello"
    legacy = resolve_artifact(artifact_ref("legacy-1"), store)
    assert legacy is not None
    assert legacy.as_text() == "früher"
    assert legacy.metadata.tags == {}
    assert [m.artifact_id for m in store.list_by_run("r1")] == ["legacy-1", HELLO_OF_R1]
    assert [m.artifact_id for m in store.list_all()] == [HELLO_OF_R1, "legacy-1"]
    assert store.store(HELLO, content_type="text/plain", run_id="r1").artifact_id == HELLO_OF_R1
    shared = store.store(HELLO, run_id="r2")
    assert shared.blob_id == HELLO_BLOB
    meta = root / "refs" / f"{shared.artifact_id}.meta"
    written = json.loads(meta.read_text())
    assert meta.read_text() == json.dumps(written, ensure_ascii=False, indent=2)
    assert list(written) == list(json.loads(_meta("x")))
    assert store.delete("legacy-1")
    assert not (root / "legacy-1.bin").exists()
    assert store.gc(dry_run=False)["blobs_deleted"] == 0


def test_snapshots(tmp_path: Path) -> None:
    state = waiting("r1", "ask", "user", wait_key="user:r1:ask")
    snapshot = {"snapshot_id": "s1", "run_id": "r1", "name": "vor dem Essen", "run_state": state}
    (tmp_path / "snapshot_s1.json").write_text(json.dumps(snapshot, indent=2), encoding="utf-8")
    (tmp_path / "snapshot_half.json").write_text('{"snapshot_id": "half"', encoding="utf-8")
    store = JsonSnapshotStore(tmp_path)
    found = store.load("s1")
    assert found is not None
    assert (found.tags, found.step_id, found.description) == ([], None, None)
    assert [s.snapshot_id for s in store.list(query="ESSEN")] == ["s1"]
    runs = JsonFileRunStore(tmp_path)
    runs.save(found.to_run())
    assert read_files(tmp_path)[0] == {"r1": state}
    store.save(found)
    text = (tmp_path / "snapshot_s1.json").read_text(encoding="utf-8")
    keys = ["snapshot_id", "run_id", "step_id", "name", "description", "tags", "created_at", "updated_at"]
    assert list(json.loads(text)) == [*keys, "run_state"]
    assert text == json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    check_run(json.loads(text)["run_state"])


def test_a_workflow_snapshot(tmp_path: Path) -> None:
    spec = json.dumps({"nodes": ["ä"]}, ensure_ascii=False, separators=(",", ":")).encode()
    artifact_id = hashlib.sha256(b"r1\0" + spec).hexdigest()[:32]
    blob_id = hashlib.sha256(spec).hexdigest()
    root = _write_artifacts(tmp_path)
    (root / "blobs" / f"{blob_id}.bin").write_bytes(spec)
    (root / "refs" / f"{artifact_id}.meta").write_text(
        _meta(artifact_id, blob_id=blob_id, size_bytes=len(spec), tags={"kind": "workflow_snapshot"})
    )
    ref = {
        "workflow_id": "old",
        "format": "json",
        "sha256": blob_id,
        "artifact_id": artifact_id,
        "created_at": "2025-01-01T00:00:00+00:00",
    }
    write_files(tmp_path, [run("r1", "done", vars={"_runtime": {"workflow_snapshot": ref}})], {})
    runs, ledger, artifacts = (
        JsonFileRunStore(tmp_path),
        JsonlLedgerStore(tmp_path),
        FileArtifactStore(tmp_path),
    )
    kept = persist_workflow_snapshot(
        run_store=runs, artifact_store=artifacts, run_id="r1", workflow_id="old", snapshot={}, format="json"
    )
    assert kept == ref
    assert artifacts.load_json(kept["artifact_id"]) == {"nodes": ["ä"]}
    bundle = export_run_history_bundle(run_id="r1", run_store=runs, ledger_store=ledger)
    assert bundle["workflow_snapshot"] == ref
    Runtime(run_store=runs, ledger_store=ledger).cancel_run("r1")
    assert read_files(tmp_path)[0]["r1"]["vars"]["_runtime"]["workflow_snapshot"] == ref


COMMANDS = [
    {
        "command_id": f"c{seq}",
        "run_id": "r1",
        "type": "resume",
        "payload": {"text": "grüß"},
        "ts": "2025-01-01T00:00:00+00:00",
        "client_id": None,
        "seq": seq,
    }
    for seq in (1, 2, 5)
]


def test_commands_and_cursor_in_files(tmp_path: Path) -> None:
    lines = [json.dumps(command, ensure_ascii=False) + "\n" for command in COMMANDS]
    path = tmp_path / "commands.jsonl"
    path.write_text("".join([*lines[:2], "not json\n", *lines[2:], '{"command_id": "torn']), encoding="utf-8")
    (tmp_path / "cursor.json").write_text('{\n  "cursor": 2,\n  "updated_at": "2025"\n}')
    store, cursor = JsonlCommandStore(tmp_path), JsonFileCommandCursorStore(tmp_path / "cursor.json")
    assert cursor.load() == 2
    assert [command.to_json() for command in store.list_after(after=0)[0]] == COMMANDS
    assert store.append(CommandRecord("c2", "r1", "resume", {}, "")).seq == 2
    accepted = store.append(CommandRecord("new", "r1", "pause", {"n": 1}, "2025"))
    assert (accepted.accepted, accepted.seq) == (True, 6)
    *_, last = path.read_text(encoding="utf-8").splitlines(keepends=True)
    new = CommandRecord("new", "r1", "pause", {"n": 1}, "2025", None, 6)
    assert last == json.dumps(new.to_json(), ensure_ascii=False) + "\n"
    cursor.save(6)
    saved = json.loads((tmp_path / "cursor.json").read_text())
    assert list(saved) == ["cursor", "updated_at"]
    assert saved["cursor"] == 6


def test_commands_and_cursor_in_sqlite(tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite3"
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript("""
            CREATE TABLE commands (seq INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE,
                run_id TEXT NOT NULL, type TEXT NOT NULL, payload_json TEXT NOT NULL, ts TEXT NOT NULL,
                client_id TEXT);
            CREATE TABLE command_cursors (consumer_id TEXT PRIMARY KEY, cursor INTEGER NOT NULL,
                updated_at TEXT NOT NULL);
            CREATE INDEX idx_commands_run_id ON commands(run_id);
            INSERT INTO command_cursors VALUES ('gateway_runner', 2, '2025');
        """)
        for command in COMMANDS:
            row = {**command, "payload": json.dumps(command["payload"], ensure_ascii=False)}
            connection.execute(
                "INSERT INTO commands VALUES (:seq, :command_id, :run_id, :type, :payload, :ts, :client_id)",
                row,
            )
    database = SqliteDatabase(file)
    try:
        store, cursor = SqliteCommandStore(database), SqliteCommandCursorStore(database)
        assert cursor.load() == 2
        assert [command.to_json() for command in store.list_after(after=0)[0]] == COMMANDS
        assert store.append(CommandRecord("c5", "r1", "resume", {}, "")).duplicate
        assert store.append(CommandRecord("new", "r1", "pause", {"ä": 1}, "2025")).seq > 5
        cursor.save(9)
    finally:
        database.close()
    with closing(sqlite3.connect(file)) as connection:
        row = connection.execute("SELECT * FROM commands WHERE command_id = 'new'").fetchone()
        assert row[2:] == ("r1", "pause", '{"ä": 1}', "2025", None)
        assert connection.execute("SELECT cursor FROM command_cursors").fetchall() == [(9,)]
