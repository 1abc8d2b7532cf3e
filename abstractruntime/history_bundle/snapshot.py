"""Keeping the workflow that a run was started with (`spec/01 §16.2`)."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, utc_now_iso
from abstractruntime.core.run_locks import alone
from abstractruntime.identity.fingerprint import sha256_hex

from .errors import HistoryBundleError
from .ports import ArtifactPort, RunPort, load_run, required_id
from .values import as_object, as_text

__all__ = ["known_snapshot", "persist_workflow_snapshot"]

_KEY = "workflow_snapshot"


def persist_workflow_snapshot(
    *,
    run_store: RunPort,
    artifact_store: ArtifactPort,
    run_id: str,
    workflow_id: str,
    snapshot: dict[str, Any],
    format: str,
) -> dict[str, Any]:
    """Store ``snapshot`` as an artifact of the run and note its reference in the run; the first one wins.

    The run's ``updated_at`` stays. Holds the run's write lock, so no step or control command of this process
    is overwritten, and a step in flight takes the reference over (over stores with ``version_of``).

    Args:
        run_store: where the run is.
        artifact_store: where the snapshot goes.
        run_id: the run.
        workflow_id: whose snapshot it is.
        snapshot: the workflow as JSON-like data.
        format: what kind of data it is, e.g. ``visualflow``; blank means ``unknown``.

    Returns:
        ``workflow_id, format, sha256, artifact_id, created_at``. ``sha256`` is over the canonical JSON
        (sorted keys, no spaces, non-ASCII kept), which may differ from the bytes stored.

    Raises:
        ValueError: an id is blank, or the snapshot is no dict or no JSON.
        TypeError: the snapshot holds something that has no JSON form.
        KeyError: there is no such run.
        RuntimeError: a store failed; the message says which.
    """
    run_id, workflow_id = required_id(run_id, "run_id"), required_id(workflow_id, "workflow_id")
    if not isinstance(snapshot, dict):
        raise InvalidInputError("snapshot must be a dict")
    sha256 = sha256_hex(json.dumps(snapshot, sort_keys=True, separators=(",", ":"), ensure_ascii=False))
    with alone(run_store, run_id):
        run = load_run(run_store, run_id)
        known = known_snapshot(run)
        if known is not None and as_text(known.get("artifact_id")):
            return known
        reference = {
            "workflow_id": workflow_id,
            "format": (as_text(format) or "unknown").strip(),
            "sha256": sha256,
        }
        reference["artifact_id"] = _stored(artifact_store, run_id, snapshot, reference)
        reference["created_at"] = utc_now_iso()
        _note(run_store, run, reference)
    return dict(reference)


def known_snapshot(run: RunState) -> dict[str, Any] | None:
    """A copy of the reference that the run holds, or ``None``."""
    known = as_object(run.vars.get("_runtime")).get(_KEY)
    return deepcopy(known) if isinstance(known, dict) else None


def _stored(store: ArtifactPort, run_id: str, snapshot: dict[str, Any], reference: dict[str, str]) -> str:
    metadata = store.store_json(snapshot, run_id=run_id, tags={"kind": _KEY, **reference})
    artifact_id = as_text(getattr(metadata, "artifact_id", None))
    if artifact_id is None:
        raise HistoryBundleError("ArtifactStore returned empty artifact_id for workflow snapshot")
    return artifact_id


def _note(run_store: RunPort, run: RunState, reference: dict[str, str]) -> None:
    """Nothing of it stays if it can't be saved: a store may hand out the very object that it keeps."""
    runtime = run.vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = run.vars["_runtime"] = {}
    before = dict(runtime)
    runtime[_KEY] = dict(reference)
    try:
        run_store.save(run)
    except Exception as exc:
        run.vars["_runtime"] = before
        raise HistoryBundleError(
            f"Failed to persist workflow snapshot ref to run '{run.run_id}': {exc}"
        ) from exc
