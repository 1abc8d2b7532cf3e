"""`spec/01 §16.2`: persist_workflow_snapshot."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from abstractruntime.history_bundle import persist_workflow_snapshot

from .artifacts import SmallArtifactStore
from .histories import Stores

SNAPSHOT = {"nodes": ["ü", 1], "id": "wf"}


def persist(stores: Stores, artifacts: SmallArtifactStore, **arguments: Any) -> dict[str, Any]:
    values = {"run_id": "r", "workflow_id": "wf", "snapshot": SNAPSHOT, "format": "visualflow"}
    return persist_workflow_snapshot(
        run_store=stores.runs, artifact_store=artifacts, **{**values, **arguments}
    )


def test_snapshot_and_reference(stores: Stores) -> None:
    before = stores.run()
    artifacts = SmallArtifactStore()
    reference = persist(stores, artifacts, run_id=" r ", workflow_id=" wf ", format="  ")
    sha256 = hashlib.sha256('{"id":"wf","nodes":["ü",1]}'.encode()).hexdigest()
    assert list(reference) == ["workflow_id", "format", "sha256", "artifact_id", "created_at"]
    assert (reference["workflow_id"], reference["format"], reference["sha256"]) == ("wf", "unknown", sha256)
    after = stores.runs.load("r")
    assert after.vars["_runtime"]["workflow_snapshot"] == reference
    assert after.updated_at == before.updated_at
    kept = artifacts.kept[reference["artifact_id"]]
    assert kept.run_id == "r"
    assert kept.tags == {
        "kind": "workflow_snapshot",
        "workflow_id": "wf",
        "format": "unknown",
        "sha256": sha256,
    }
    assert artifacts.load_json(reference["artifact_id"]) == SNAPSHOT


def test_the_first_snapshot_wins_also_among_threads(stores: Stores) -> None:
    stores.run()
    artifacts = SmallArtifactStore()
    with ThreadPoolExecutor(8) as pool:
        references = list(
            pool.map(lambda n: persist(stores, artifacts, snapshot={"n": n}, format=f"f{n}"), range(16))
        )
    assert references == [references[0]] * 16
    assert len(artifacts.kept) == 1
    references[0]["format"] = "mine"
    assert persist(stores, artifacts)["format"] != "mine"


def test_a_blank_reference_is_replaced(stores: Stores) -> None:
    stores.run(vars={"_runtime": {"workflow_snapshot": {"artifact_id": " "}, "other": 1}})
    assert persist(stores, SmallArtifactStore())["artifact_id"] == "a0"
    assert stores.runs.load("r").vars["_runtime"]["other"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run_id": " "}, "run_id is required"),
        ({"workflow_id": None}, "workflow_id is required"),
        ({"snapshot": []}, "snapshot must be a dict"),
    ],
)
def test_wrong_arguments(stores: Stores, arguments: dict[str, Any], message: str) -> None:
    stores.run()
    with pytest.raises(ValueError, match=message):
        persist(stores, SmallArtifactStore(), **arguments)


def test_unknown_run(stores: Stores) -> None:
    with pytest.raises(KeyError, match="Run 'r' not found"):
        persist(stores, SmallArtifactStore())


def test_no_artifact_id(stores: Stores) -> None:
    stores.run()
    with pytest.raises(RuntimeError, match="ArtifactStore returned empty artifact_id for workflow snapshot"):
        persist(stores, SmallArtifactStore(ids=False))
    assert "_runtime" not in stores.runs.load("r").vars


def test_failing_store(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    stores.run()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(stores.runs, "save", fail)
        with pytest.raises(
            RuntimeError, match="Failed to persist workflow snapshot ref to run 'r': disk full"
        ):
            persist(stores, SmallArtifactStore())
    monkeypatch.setattr(stores.runs, "load", fail)
    with pytest.raises(RuntimeError, match="Failed to load run 'r': disk full"):
        persist(stores, SmallArtifactStore())


def test_a_reference_that_could_not_be_saved_leaves_no_trace(stores: Stores) -> None:
    """Also over a store that hands out the very objects it keeps."""
    run = stores.run()
    stores.runs.load = lambda run_id: run

    def full(run: Any) -> None:
        raise OSError("disk full")

    stores.runs.save = full
    with pytest.raises(
        RuntimeError, match=r"^Failed to persist workflow snapshot ref to run 'r': disk full$"
    ):
        persist(stores, SmallArtifactStore())
    assert "workflow_snapshot" not in run.vars["_runtime"]
