"""Which runs wait for which event, without reading all that wait (`spec/01 §19`, row 14)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.storage import json_files
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.wait_index import WaitIndex


def waiting(run_id: str, *keys: str) -> RunState:
    details = {"wait_keys": list(keys)} if len(keys) > 1 else None
    wait = WaitState(WaitReason.EVENT, keys[0], details=details)
    return RunState(run_id, "w", RunStatus.WAITING, "a", waiting=wait)


def test_index() -> None:
    index = WaitIndex()
    index.put("a", ["x", "y", "x"])
    index.put("b", ["y"])
    assert index.runs(["y", "x"]) == ["a", "b"]
    assert index.keys("") == ["y", "x"]
    assert "a" in index
    index.put("a", ["z"])
    assert index.runs(["x", "y"]) == ["b"]
    index.put("b", [])
    index.put("c", [])
    assert index.keys("") == ["z"]
    assert "b" not in index


@pytest.mark.weakness("spec/01 §19.14")
def test_other_waiting_runs_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JsonFileRunStore(tmp_path)
    for number in range(20):
        store.save(waiting(f"r{number}", f"evt:session:s:{number}"))
    read: list[str] = []
    read_run = json_files.read_run
    monkeypatch.setattr(json_files, "read_run", lambda path: read.append(path.name) or read_run(path))
    assert [run.run_id for run in store.list_waiting_on(wait_keys=["evt:session:s:7"])] == ["r7"]
    assert len(store.list_wait_keys(prefix="evt:session:s:")) == 20
    assert read == ["run_r7.json"]


def test_another_store_object_sees_the_same(tmp_path: Path) -> None:
    store, other = JsonFileRunStore(tmp_path), JsonFileRunStore(tmp_path)
    store.save(waiting("a", "x", "y"))
    assert [run.run_id for run in other.list_waiting_on(wait_keys=["y"])] == ["a"]
    store.save(RunState("a", "w", RunStatus.RUNNING, "a"))
    assert other.list_waiting_on(wait_keys=["x", "y"]) == []
    assert "waits" not in store.list_run_index()[0]


def test_rows_noted_without_their_keys(tmp_path: Path) -> None:
    """By a release that did not know of them."""
    store = JsonFileRunStore(tmp_path)
    store.save(waiting("a", "x"))
    store.save(waiting("b", "y"))
    log = tmp_path / ".runs_index"
    entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    for entry in entries:
        if entry.get("row") and entry["id"] == "a":
            del entry["row"]["waits"]
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries), encoding="utf-8")
    store = JsonFileRunStore(tmp_path)
    assert [run.run_id for run in store.list_waiting_on(wait_keys=["x"])] == ["a"]
    assert [run.run_id for run in store.list_waiting_on(wait_keys=["y"])] == ["b"]
    assert sorted(store.list_wait_keys(prefix="")) == ["x", "y"]
