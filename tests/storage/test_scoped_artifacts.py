"""An artifact id is no permission (`spec/02 §15.4`, U-4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from abstractruntime.core.errors import AccessDeniedError, InvalidInputError
from abstractruntime.storage.artifacts import (
    ArtifactStore,
    FileArtifactStore,
    InMemoryArtifactStore,
    artifact_ref,
    resolve_artifact,
)
from abstractruntime.storage.scoped_artifacts import ScopedArtifacts

pytestmark = pytest.mark.weakness("spec/02 U-4")


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return InMemoryArtifactStore() if request.param == "memory" else FileArtifactStore(tmp_path)


def test_artifacts_of_other_runs_do_not_exist(store: ArtifactStore) -> None:
    mine = store.store_text("mine", run_id="r1")
    others = [store.store_text("theirs", run_id="r2"), store.store_text("nobody's"), store.store_text("mine")]
    shown = ScopedArtifacts(store, ["r1"])
    assert shown.load_text(mine.artifact_id) == "mine"
    assert shown.exists(mine.artifact_id)
    for other in others:
        assert shown.load(other.artifact_id) is None
        assert shown.get_metadata(other.artifact_id) is None
        assert resolve_artifact(artifact_ref(other.artifact_id), shown) is None
        assert not shown.exists(other.artifact_id)
        assert not shown.delete(other.artifact_id)
        assert store.exists(other.artifact_id)
    assert shown.list_by_run("r2") == []
    assert [found.artifact_id for found in shown.list_all()] == [mine.artifact_id]
    assert [found.artifact_id for found in shown.search()] == [mine.artifact_id]
    assert shown.delete_by_run("r2") == 0
    assert shown.delete(mine.artifact_id)
    with pytest.raises(InvalidInputError):
        shown.load("../r2")


def test_several_runs_and_storing(store: ArtifactStore) -> None:
    shown = ScopedArtifacts(store, ["r1", "r2"])
    new = shown.store(b"1", run_id="r2", artifact_id="named")
    assert shown.store(b"2", run_id="r1", artifact_id="named").run_id == "r1"
    assert shown.list_by_run(new.run_id or "") == []
    theirs = store.store(b"theirs", run_id="r3", artifact_id="theirs")
    for run_id, artifact_id in (("r3", None), (None, None), ("r1", "theirs")):
        with pytest.raises(AccessDeniedError):
            shown.store(b"x", run_id=run_id, artifact_id=artifact_id)
    assert store.get_metadata("theirs") == theirs


@pytest.mark.parametrize("run_ids", [[], [""], "r1"])
def test_a_scope_must_name_runs(store: ArtifactStore, run_ids: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="pass a list"):
        ScopedArtifacts(store, run_ids)
