"""Run files that others rewrite while a store lives: an editor, another program (`spec/02 §5.1`, §15.3)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunStatus, WaitReason
from abstractruntime.storage import run_files_index
from abstractruntime.storage.json_files import JsonFileRunStore
from tests.storage.runs import a_run

LATER = "2027-01-01T00:00:00+00:00"
PAST = 1_700_000_000_000_000_000
"""A directory that changed long ago does not change again within the same tick of the clock."""

QUERIES: dict[str, Callable[[JsonFileRunStore], list[Any]]] = {
    "due": lambda runs: runs.list_due_wait_until(now_iso=LATER),
    "wakes": lambda runs: runs.list_due(now_iso=LATER),
    "status": lambda runs: runs.list_runs(status=RunStatus.WAITING),
    "wait reason": lambda runs: runs.list_runs(wait_reason=WaitReason.UNTIL),
    "session": lambda runs: runs.list_run_index(session_id="theirs"),
    "children": lambda runs: runs.list_children(parent_run_id="theirs"),
    "newest": lambda runs: [run for run in runs.list_runs(limit=1) if run.run_id == "r1"],
}


def _in_place(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _by_renaming(path: Path, text: str) -> None:
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _rewrite(path: Path, write: Callable[[Path, str], None] = _in_place) -> None:
    state = json.loads(path.read_text(encoding="utf-8"))
    state.update(
        status="waiting",
        waiting={"reason": "until", "until": "2026-01-01T00:00:00+00:00"},
        session_id="theirs",
        parent_run_id="theirs",
        updated_at="2026-09-09T00:00:00+00:00",
    )
    write(path, json.dumps(state))


def _settled(runs: JsonFileRunStore, base: Path) -> None:
    """The store has seen the directory as it is, and takes it for one at rest."""
    os.utime(base, ns=(PAST, PAST))
    runs.list_runs()


@pytest.mark.weakness("spec/02 S-6")
@pytest.mark.parametrize("write", [_in_place, _by_renaming])
@pytest.mark.parametrize("query", QUERIES.values(), ids=QUERIES)
def test_a_known_run_that_others_rewrite_is_seen_as_it_is(
    tmp_path: Path, query: Callable[[JsonFileRunStore], list[Any]], write: Callable[[Path, str], None]
) -> None:
    runs = JsonFileRunStore(tmp_path)
    runs.save(a_run("other", status=RunStatus.COMPLETED, updated_at="2026-02-02T00:00:00+00:00"))
    runs.save(a_run())
    _settled(runs, tmp_path)
    assert query(runs) == []
    _rewrite(tmp_path / "run_r1.json", write)
    assert len(query(runs)) == 1
    assert len(query(JsonFileRunStore(tmp_path))) == 1


@pytest.mark.weakness("spec/02 S-6")
def test_in_a_large_directory_an_edit_is_found_within_a_few_queries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files_index, "_COMPARED_AT_ONCE", 4)
    runs = JsonFileRunStore(tmp_path)
    for n in range(10):
        runs.save(a_run(f"r{n}", status=RunStatus.COMPLETED))
    _settled(runs, tmp_path)
    for n in range(10):
        _rewrite(tmp_path / f"run_r{n}.json")
    found = [len(runs.list_due_wait_until(now_iso=LATER)) for _ in range(4)]
    assert found[0] >= 4
    assert found[-1] == 10


@pytest.mark.weakness("spec/02 S-6")
def test_in_a_large_directory_a_replaced_file_is_found_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files_index, "_COMPARED_AT_ONCE", 4)
    runs = JsonFileRunStore(tmp_path)
    for n in range(10):
        runs.save(a_run(f"r{n}", status=RunStatus.COMPLETED))
    _settled(runs, tmp_path)
    for n in range(10):
        _rewrite(tmp_path / f"run_r{n}.json", _by_renaming)
    assert len(runs.list_due_wait_until(now_iso=LATER)) == 10


@pytest.mark.weakness("spec/02 P-4")
def test_a_save_of_ours_makes_no_query_look_at_every_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_files_index, "_COMPARED_AT_ONCE", 4)
    runs, other = JsonFileRunStore(tmp_path), JsonFileRunStore(tmp_path)
    for n in range(30):
        runs.save(a_run(f"r{n}", status=RunStatus.COMPLETED))
    for store in (runs, other):
        _settled(store, tmp_path)
    looked: list[str] = []
    version = run_files_index.content_version
    monkeypatch.setattr(
        run_files_index, "content_version", lambda path: looked.append(str(path)) or version(path)
    )
    for store in (runs, other):
        runs.save(a_run("r7", status=RunStatus.COMPLETED))
        for _ in range(2):  # the second look may come in the same tick of the clock
            looked.clear()
            assert store.list_due_wait_until(now_iso=LATER) == []
            assert len(looked) == 4
