"""What every run store of the contract does (`spec/02 §2`, §4, §6.3)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, RunStatus, WaitReason, WaitState
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.base import (
    LedgerStore,
    QueryableRunIndexStore,
    QueryableRunStore,
    RunStore,
)
from abstractruntime.storage.in_memory import InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.offloading import OffloadingRunStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.run_store import SqlRunStore
from tests.storage.runs import a_run, waiting_for, waiting_until


class FullRunStore(QueryableRunStore, QueryableRunIndexStore, Protocol):
    def save(self, run: RunState) -> None: ...
    def load(self, run_id: str) -> RunState | None: ...
    def version_of(self, run_id: str) -> int: ...


@pytest.fixture(params=["memory", "json", "sqlite", "postgresql"])
def runs(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FullRunStore]:
    if request.param in ("memory", "json"):
        yield InMemoryRunStore() if request.param == "memory" else JsonFileRunStore(tmp_path)
        return
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    database = open_database(request.getfixturevalue(fixture))
    migrate.upgrade(database)
    yield SqlRunStore(database)
    database.close()


def _ids(runs: list[RunState]) -> list[str]:
    return [run.run_id for run in runs]


def test_a_stored_form_given_to_the_constructor_can_be_saved(runs: FullRunStore) -> None:
    """As hosts restore a snapshot (`spec/02 §11`)."""
    run = waiting_until(a_run(), "2026-01-01T00:00:00+00:00")
    runs.save(RunState(**json.loads(json.dumps(run.to_dict()))))
    assert runs.load(run.run_id) == run
    (due,) = runs.list_due_wait_until(now_iso="2026-06-01T00:00:00+00:00")
    assert due == run


@pytest.mark.parametrize("offloaded", [False, True])
def test_a_status_may_be_text(runs: FullRunStore, offloaded: bool) -> None:
    store: RunStore = runs
    if offloaded:
        store = OffloadingRunStore(runs, artifact_store=InMemoryArtifactStore(), max_inline_bytes=10)
    for status in RunStatus:
        run = a_run(status.value)
        run.status = status.value  # type: ignore[assignment]
        store.save(run)
        assert type(run.status) is str
        loaded = store.load(run.run_id)
        assert loaded is not None
        assert loaded.status is RunStatus(run.status)
        assert _ids(runs.list_runs(status=loaded.status)) == [run.run_id]
    for bad in ("going", "", None, 5, ["running"]):
        run = a_run("bad")
        run.status = bad  # type: ignore[assignment]
        with pytest.raises(InvalidInputError, match=r"RunState\.status of run 'bad' .*'running', .*, not"):
            store.save(run)
    assert store.load("bad") is None


def test_the_base_classes_cannot_be_made() -> None:
    for base in (RunStore, LedgerStore):
        with pytest.raises(TypeError):
            base()  # type: ignore[abstract]


def test_every_store_is_queryable(runs: FullRunStore) -> None:
    assert isinstance(runs, RunStore)
    assert isinstance(runs, QueryableRunStore)
    assert isinstance(runs, QueryableRunIndexStore)


@pytest.mark.weakness("spec/02 S-7")
def test_a_saved_run_comes_back_equal_and_independent(runs: FullRunStore) -> None:
    run = waiting_until(a_run(actor_id="a", session_id="s"), "2026-01-01T00:00:00.000000+00:00")
    run.output, run.error = {"x": [1]}, "none"
    runs.save(run)
    first = runs.load("r1")
    assert first == run
    assert first is not run
    run.vars["later"] = True
    first.vars["n"].append("changed")
    second = runs.load("r1")
    assert second is not None
    assert second.vars == {"greeting": "grüß Gott", "n": [1, 2.5, None, True]}


def test_unknown_and_blank_ids_are_none(runs: FullRunStore) -> None:
    assert runs.load("nobody") is None
    assert runs.load("") is None


def test_saving_replaces_and_moves_the_version(runs: FullRunStore) -> None:
    assert runs.version_of("r1") == 0
    runs.save(a_run())
    first = runs.version_of("r1")
    runs.save(a_run(current_node="next"))
    assert runs.version_of("r1") > first > 0
    loaded = runs.load("r1")
    assert loaded is not None
    assert loaded.current_node == "next"


@pytest.mark.parametrize("value", [object(), {1, 2}, b"bytes"])
def test_what_json_cannot_say_is_refused(runs: FullRunStore, value: object) -> None:
    runs.save(a_run(vars={"ok": 1}))
    with pytest.raises((TypeError, ValueError), match="r1"):
        runs.save(a_run(vars={"bad": value}))
    kept = runs.load("r1")
    assert kept is not None
    assert kept.vars == {"ok": 1}


def _three_runs(runs: FullRunStore) -> None:
    runs.save(a_run("old", updated_at="2026-01-01T00:00:00+00:00", workflow_id="a"))
    runs.save(waiting_for(a_run("new", updated_at="2026-01-03T00:00:00+00:00", workflow_id="b"), "k"))
    middle = a_run("middle", updated_at="2026-01-02T00:00:00+00:00", workflow_id="b")
    runs.save(replace(middle, waiting=WaitState(WaitReason.EVENT, wait_key="k")))


@pytest.mark.weakness("spec/02 U-6")
def test_runs_are_listed_newest_first_and_filtered(runs: FullRunStore) -> None:
    _three_runs(runs)
    assert _ids(runs.list_runs()) == ["new", "middle", "old"]
    assert _ids(runs.list_runs(limit=2)) == ["new", "middle"]
    assert runs.list_runs(limit=0) == runs.list_runs(limit=-1) == []
    assert _ids(runs.list_runs(status=RunStatus.RUNNING)) == ["middle", "old"]
    assert _ids(runs.list_runs(wait_reason=WaitReason.EVENT)) == ["new", "middle"]
    assert _ids(runs.list_runs(workflow_id="b", status=RunStatus.WAITING)) == ["new"]
    assert runs.list_runs(workflow_id="c") == []


def test_due_runs_earliest_first(runs: FullRunStore) -> None:
    for run_id, until in (("later", "2026-01-02"), ("early", "2026-01-01"), ("future", "2026-01-09")):
        runs.save(waiting_until(a_run(run_id), f"{until}T00:00:00+00:00"))
    runs.save(waiting_until(a_run("never"), ""))
    runs.save(waiting_for(a_run("event"), "k", until="2026-01-01T00:00:00+00:00"))
    gone = waiting_until(a_run("gone"), "2026-01-01T00:00:00+00:00")
    runs.save(gone)
    runs.save(replace(gone, status=RunStatus.CANCELLED))
    now = " 2026-01-02T00:00:00+00:00 "
    assert _ids(runs.list_due_wait_until(now_iso=now)) == ["early", "later"]
    assert _ids(runs.list_due_wait_until(now_iso=now, limit=1)) == ["early"]
    assert runs.list_due_wait_until(now_iso=now, limit=0) == []


def test_a_changed_due_time_counts_at_once(runs: FullRunStore) -> None:
    runs.save(waiting_until(a_run(), "2027-01-01T00:00:00+00:00"))
    run = runs.load("r1")
    assert run is not None
    assert run.waiting is not None
    run.waiting.until = "2025-01-01T00:00:00+00:00"
    assert runs.list_due_wait_until(now_iso="2026-01-01T00:00:00+00:00") == []
    runs.save(run)
    assert _ids(runs.list_due_wait_until(now_iso="2026-01-01T00:00:00+00:00")) == ["r1"]


@pytest.mark.weakness("spec/02 U-6")
def test_children_in_the_order_they_were_created(runs: FullRunStore) -> None:
    runs.save(a_run("p"))
    for run_id, day in (("c2", "02"), ("c1", "02"), ("c0", "03")):
        runs.save(a_run(run_id, parent_run_id="p", created_at=f"2026-01-{day}T00:00:00+00:00"))
    runs.save(a_run("done", parent_run_id="p", status=RunStatus.COMPLETED))
    runs.save(a_run("other", parent_run_id="q"))
    assert _ids(runs.list_children(parent_run_id="p")) == ["done", "c1", "c2", "c0"]
    assert _ids(runs.list_children(parent_run_id="p", status=RunStatus.RUNNING)) == ["c1", "c2", "c0"]
    assert runs.list_children(parent_run_id=" ") == []


@pytest.mark.weakness("spec/02 U-6")
def test_index_rows_have_one_shape(runs: FullRunStore) -> None:
    _three_runs(runs)
    runs.save(
        waiting_until(a_run("timed", updated_at="2026-01-09", parent_run_id="old", actor_id=""), "2026")
    )
    rows = runs.list_run_index()
    assert [row["run_id"] for row in rows] == ["timed", "new", "middle", "old"]
    assert rows[0] == {
        "run_id": "timed",
        "workflow_id": "wf",
        "status": "waiting",
        "wait_reason": "until",
        "wait_until": "2026",
        "parent_run_id": "old",
        "actor_id": None,
        "session_id": None,
        "created_at": "2026-01-01T00:00:00.000000+00:00",
        "updated_at": "2026-01-09",
    }
    assert rows[1]["wait_until"] is None
    assert rows[1]["wait_reason"] == "event"


@pytest.mark.weakness("spec/02 U-6")
def test_index_filters_and_limits(runs: FullRunStore) -> None:
    _three_runs(runs)
    runs.save(a_run("mine", session_id=" s1 ", updated_at="2025", parent_run_id="old"))

    def ids(**filters: Any) -> list[str]:
        return [row["run_id"] for row in runs.list_run_index(**filters)]

    assert ids(session_id="s1") == ids(session_id=" s1") == ["mine"]
    assert ids(session_id=" ") == ["new", "middle", "old", "mine"]
    assert ids(root_only=True) == ["new", "middle", "old"]
    assert ids(status=RunStatus.WAITING) == ["new"]
    assert ids(workflow_id="b") == ["new", "middle"]
    assert len(ids(limit=0)) == 4
    assert ids(limit=-3) == ["new"]


@pytest.mark.weakness("spec/02 S-7")
def test_threads_may_save_and_list_at_the_same_time(runs: FullRunStore) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for i in range(15):
                runs.save(a_run(f"{name}-{i}"))
                runs.list_runs(limit=5)
                assert runs.load(f"{name}-{i}") is not None
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(runs.list_runs(limit=1000)) == 60


def test_filters_may_be_text(runs: Any) -> None:
    runs.save(waiting_until(a_run("r1"), "2026-01-01T00:00:00.000000+00:00"))
    runs.save(a_run("r2", parent_run_id="r1"))
    assert [run.run_id for run in runs.list_runs(status="waiting", wait_reason="until")] == ["r1"]
    assert [row["run_id"] for row in runs.list_run_index(status="running")] == ["r2"]
    assert [run.run_id for run in runs.list_children(parent_run_id="r1", status="running")] == ["r2"]
