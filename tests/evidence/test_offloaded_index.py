"""Evidence of an ended run whose span index was offloaded (`spec/03 §15.3`, `spec/02 §8.3`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from abstractruntime import (
    EffectType,
    InMemoryLedgerStore,
    InMemoryRunStore,
    JsonFileRunStore,
    OffloadingRunStore,
    Runtime,
    SqliteDatabase,
    SqliteRunStore,
)
from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.redaction import redact_secrets
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from tests.kernel.flows import asks, done, flow

CALLS = {"tool_calls": [{"name": "web_search", "call_id": f"c{n}", "arguments": {}} for n in (1, 2)]}
SEARCHES = flow(search=asks(EffectType.TOOL_CALLS, CALLS), done=done)


@pytest.fixture(params=["memory", "json", "sqlite"])
def inner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if request.param == "memory":
        yield InMemoryRunStore()
    elif request.param == "json":
        yield JsonFileRunStore(tmp_path)
    else:
        database = SqliteDatabase(tmp_path / "runs.sqlite3")
        yield SqliteRunStore(database)
        database.close()


def _search(run: Any, effect: Any) -> EffectOutcome:
    ids = [call["call_id"] for call in effect.payload["tool_calls"]]
    results = [{"name": "web_search", "call_id": each, "success": True, "output": f"{each}!"} for each in ids]
    return EffectOutcome.completed({"mode": "executed", "results": results})


def _runtime(run_store: Any, artifacts: Any, **options: Any) -> Runtime:
    return Runtime(
        run_store=run_store,
        ledger_store=InMemoryLedgerStore(),  # traces play no part here
        artifact_store=artifacts,
        effect_handlers={EffectType.TOOL_CALLS: _search},
        **options,
    )


@pytest.mark.parametrize(
    "most",
    [
        pytest.param(40, id="entries and index"),
        pytest.param(400, id="index"),
        pytest.param(10_000, id="nothing"),
    ],
)
def test_the_evidence_of_an_ended_run_is_listed(inner: Any, most: int) -> None:
    artifacts = InMemoryArtifactStore()
    store = OffloadingRunStore(inner, artifact_store=artifacts, max_inline_bytes=most)
    runtime = _runtime(store, artifacts)
    run_id = runtime.start(workflow=SEARCHES)
    runtime.tick(workflow=SEARCHES, run_id=run_id, max_steps=1)
    before = runtime.list_evidence(run_id)
    assert [entry["call_id"] for entry in before] == ["c1", "c2"]
    assert runtime.tick(workflow=SEARCHES, run_id=run_id).is_terminal
    stored = runtime.get_state(run_id).vars["_runtime"]["memory_spans"]
    assert isinstance(stored, dict) is (most < 10_000)  # a reference
    assert runtime.list_evidence(run_id) == before
    record = runtime.load_evidence(before[0]["evidence_id"])
    assert record is not None
    assert record["call_id"] == "c1"
    # Through a runtime that doesn't offload itself, and one that keeps secrets out.
    assert _runtime(inner, artifacts).list_evidence(run_id) == before
    hooks = Hooks(redactor=redact_secrets(keys=["token"]))
    assert _runtime(store, artifacts, hooks=hooks).list_evidence(run_id) == before


def test_an_index_that_is_gone_is_no_empty_one(inner: Any) -> None:
    artifacts = InMemoryArtifactStore()
    runtime = _runtime(OffloadingRunStore(inner, artifact_store=artifacts, max_inline_bytes=400), artifacts)
    run_id = runtime.start(workflow=SEARCHES)
    runtime.tick(workflow=SEARCHES, run_id=run_id)
    artifacts.delete(runtime.get_state(run_id).vars["_runtime"]["memory_spans"]["$artifact"])
    with pytest.raises(CorruptCheckpointError, match="is gone"):
        runtime.list_evidence(run_id)


def test_junk_is_no_evidence(inner: Any) -> None:
    runtime = _runtime(inner, InMemoryArtifactStore())
    for junk in (None, "text", {"$artifact": "unknown key", "more": 1}, [1, {"kind": "note"}]):
        ended = flow(done=done)
        run_id = runtime.start(workflow=ended, vars={"_runtime": {"memory_spans": junk}})
        runtime.tick(workflow=ended, run_id=run_id)
        assert runtime.list_evidence(run_id) == []
