"""The evidence of a run tree in a bundle (`spec/03 §15`)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from abstractruntime.core.evidence_index import evidence_entries

from .ports import ArtifactPort, RunPort, best_effort

__all__ = ["evidence_part"]


def evidence_part(
    runs: RunPort, artifacts: ArtifactPort | None, run_ids: Iterable[str]
) -> dict[str, list[dict[str, Any]]]:
    """By run id the entries of its evidence, each with its ``record``: ``None`` where that can't be had, and
    without the texts, which stay artifacts."""
    found = {}
    for run_id in run_ids:
        run = best_effort(f"run '{run_id}'", partial(runs.load, run_id), None)
        entries = [] if run is None else evidence_entries(run)
        for entry in entries:
            entry["record"] = _record(artifacts, entry.get("artifact_id"))
        if entries:
            found[run_id] = entries
    return found


def _record(artifacts: ArtifactPort | None, evidence_id: object) -> dict[str, Any] | None:
    load = getattr(artifacts, "load_json", None)
    if load is None or not isinstance(evidence_id, str):
        return None
    nothing: Any = None
    record = best_effort(f"evidence '{evidence_id}'", partial(load, evidence_id), nothing)
    return record if isinstance(record, dict) else None
