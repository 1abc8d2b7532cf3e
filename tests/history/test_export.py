"""`spec/01 §16.3`: export_run_history_bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from abstractruntime import InMemoryRunStore
from abstractruntime.core.models import RunStatus, StepStatus, WaitReason, WaitState
from abstractruntime.history_bundle import RUN_HISTORY_BUNDLE_VERSION_V1, export_run_history_bundle

from .artifacts import SmallArtifactStore
from .histories import Stores


def export(stores: Stores, run_id: str = "r", **options: Any) -> dict[str, Any]:
    return export_run_history_bundle(
        run_id=run_id, run_store=stores.runs, ledger_store=stores.ledgers, **options
    )


def cursors(ledger: dict[str, Any]) -> list[int]:
    return [item["cursor"] for item in ledger["items"]]


def test_shape(stores: Stores) -> None:
    wait = WaitState(WaitReason.USER, wait_key="k", prompt="?")
    reference = {"artifact_id": "a"}
    stores.run(
        status=RunStatus.WAITING,
        waiting=wait,
        actor_id="me",
        vars={"x": {"y": 1}, "_runtime": {"workflow_snapshot": reference}},
    )
    bundle = export(stores, " r ")
    assert list(bundle) == [
        "version",
        "generated_at",
        "root_run_id",
        "run",
        "workflow_snapshot",
        "input_data",
        "ledgers",
        "timeline",
        "session",
    ]
    assert bundle["version"] == RUN_HISTORY_BUNDLE_VERSION_V1 == 1
    assert bundle["root_run_id"] == "r"
    assert bundle["run"] == {
        "run_id": "r",
        "workflow_id": "wf",
        "status": "waiting",
        "current_node": "end",
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-01T00:00:00+00:00",
        "actor_id": "me",
        "session_id": None,
        "parent_run_id": None,
        "error": None,
        "waiting": wait.to_dict(),
    }
    assert bundle["workflow_snapshot"] == reference
    assert bundle["input_data"] == {"x": {"y": 1}}
    empty = {"run_id": "r", "total": 0, "cursor_start": 1, "cursor_end": 0, "items": []}
    assert bundle["ledgers"] == {"r": empty}
    assert bundle["timeline"] == []
    assert bundle["session"] is None
    assert json.loads(json.dumps(bundle)) == bundle


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"ledger_max_items": 2}, [4, 5]),
        ({"ledger_max_items": 9}, [1, 2, 3, 4, 5]),
        ({"ledger_max_items": 0}, [1, 2, 3, 4, 5]),
        ({"ledger_max_items": 2, "ledger_mode": "FULL"}, [1, 2, 3, 4, 5]),
    ],
)
def test_tail_and_full(stores: Stores, options: dict[str, Any], expected: list[int]) -> None:
    stores.run()
    for second in range(5):
        stores.record(second=second)
    ledger = export(stores, **options)["ledgers"]["r"]
    assert cursors(ledger) == expected
    assert (ledger["total"], ledger["cursor_start"], ledger["cursor_end"]) == (5, expected[0], 5)
    assert [item["record"]["step_id"] for item in ledger["items"]] == [f"s{n - 1}" for n in expected]


@pytest.mark.weakness("spec/01 §19.22")
def test_a_tail_is_read_and_the_rest_is_counted(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(stores.ledgers, "list_after"):
        pytest.skip("a ledger of the bare contract can't tell its end")
    stores.run()
    for second in range(50):
        stores.record(second=second)
    pages: list[int] = []
    list_after = stores.ledgers.list_after

    def counted(*, run_id: str, after: int, limit: int = 1000) -> Any:
        records, read_to = list_after(run_id=run_id, after=after, limit=limit)
        pages.append(len(records))
        return records, read_to

    def refuse(run_id: str) -> None:
        raise AssertionError("the whole ledger was read")

    monkeypatch.setattr(stores.ledgers, "list", refuse)
    monkeypatch.setattr(stores.ledgers, "list_after", counted)
    ledger = export(stores, ledger_max_items=2)["ledgers"]["r"]
    assert (cursors(ledger), ledger["total"], sum(pages)) == ([49, 50], 50, 2)


def test_positions_survive_a_damaged_record() -> None:
    class Gapped:
        """As the SQL store: a damaged record counts, and is left out of what is read."""

        def list(self, run_id: str) -> list[dict[str, Any]]:
            raise AssertionError("not needed")

        def count(self, run_id: str) -> int:
            return 5

        def list_after(self, *, run_id: str, after: int, limit: int) -> tuple[list[dict[str, Any]], int]:
            last = min(5, after + limit)
            return [{"step_id": n} for n in range(after + 1, last + 1) if n != 3], last

    stores = Stores(InMemoryRunStore(), Gapped())
    stores.run()
    items = export(stores)["ledgers"]["r"]["items"]
    assert [(item["cursor"], item["record"]["step_id"]) for item in items] == [(n, n) for n in (1, 2, 4, 5)]


def test_run_tree_breadth_first_and_timeline(stores: Stores) -> None:
    stores.run()
    stores.run("c1", parent_run_id="r", created_at="2026-01-01T00:00:01+00:00")
    stores.run("g", parent_run_id="c1")
    stores.run("c2", parent_run_id="r", created_at="2026-01-01T00:00:02+00:00")
    stores.record("c1", second=1, kind="ask_user", started_at="2026-01-01T00:01:00.9983+00:00")
    stores.record("r", second=9, node_id=" ", ended_at=None, effect=None)
    stores.record("r", second=8, started_at="garbage", status=StepStatus.FAILED)
    bundle = export(stores)
    assert list(bundle["ledgers"]) == ["r", "c1", "c2", "g"]
    assert bundle["timeline"] == [
        {
            "run_id": "r",
            "cursor": 1,
            "node_id": None,
            "status": "completed",
            "effect_type": None,
            "started_at": "2026-01-01T00:01:09+00:00",
            "ended_at": "2026-01-01T00:01:09+00:00",
            "duration_ms": 0.0,
        },
        {
            "run_id": "r",
            "cursor": 2,
            "node_id": "n",
            "status": "failed",
            "effect_type": "vars_query",
            "started_at": "garbage",
            "ended_at": "2026-01-01T00:01:08Z",
            "duration_ms": None,
        },
        {
            "run_id": "c1",
            "cursor": 1,
            "node_id": "n",
            "status": "completed",
            "effect_type": "ask_user",
            "started_at": "2026-01-01T00:01:00.9983+00:00",
            "ended_at": "2026-01-01T00:01:01Z",
            "duration_ms": 1.7,
        },
    ]
    assert list(export(stores, include_subruns=False)["ledgers"]) == ["r"]


def test_large_leaves_become_artifacts(stores: Stores) -> None:
    limit = "ü" * 131_072
    stores.run(vars={"big": [limit + "."], "fits": limit, "_own": 1})
    artifacts = SmallArtifactStore()
    assert export(stores, artifact_store=artifacts)["input_data"] == {
        "big": [{"$artifact": "a0"}],
        "fits": limit,
    }
    kept = artifacts.kept["a0"]
    assert (kept.content, kept.run_id) == (limit + ".", "r")
    assert kept.tags["source"] == "history_bundle"
    assert kept.tags["path"] == "input_data.big[0]"
    assert export(stores)["input_data"]["big"] == [limit + "."]


@pytest.mark.weakness("spec/01 §19.22")
def test_a_bundle_shares_nothing_with_the_stores(stores: Stores) -> None:
    stores.run(vars={"x": [1]})
    stores.record(result={"list": [1]})
    bundle = export(stores)
    bundle["input_data"]["x"].append(2)
    bundle["ledgers"]["r"]["items"][0]["record"]["result"]["list"].append(2)
    again = export(stores)
    assert again["input_data"] == {"x": [1]}
    assert again["ledgers"]["r"]["items"][0]["record"]["result"] == {"list": [1]}


def test_what_can_not_be_read_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def list(self, run_id: str) -> list[dict[str, Any]]:
            raise OSError("damaged")

    stores = Stores(InMemoryRunStore(), Broken())
    stores.run()
    assert export(stores)["ledgers"]["r"]["total"] == 0
    assert "ledger of run 'r' could not be read" in caplog.text


def test_errors(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="run_id is required"):
        export(stores, " ")
    with pytest.raises(KeyError, match="Run 'r' not found"):
        export(stores)

    def fail(run_id: str) -> None:
        raise OSError("gone")

    monkeypatch.setattr(stores.runs, "load", fail)
    with pytest.raises(RuntimeError, match="Failed to load run 'r': gone"):
        export(stores)


def test_names_at_the_top() -> None:
    code = (
        "import sys, abstractruntime as a;"
        "print(a.RUN_HISTORY_BUNDLE_VERSION_V1, a.export_run_history_bundle.__name__,"
        " a.persist_workflow_snapshot.__name__, a.history_bundle.__name__,"
        " {'sqlalchemy', 'celery'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[:4] == [
        "1",
        "export_run_history_bundle",
        "persist_workflow_snapshot",
        "abstractruntime.history_bundle",
    ]
    assert done.stdout.strip().endswith("set()")
