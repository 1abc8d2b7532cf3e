"""The evidence that a run's span index names (`spec/03 §15.3`)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from .models import RunState

__all__ = ["evidence_entries"]


def evidence_entries(run: RunState) -> list[dict[str, Any]]:
    """Copies of the entries in order of recording. The id to load one by is under ``artifact_id``, and in
    what the package's recorder wrote under ``evidence_id`` too."""
    runtime = run.vars.get("_runtime")
    spans = runtime.get("memory_spans") if isinstance(runtime, dict) else None
    if not isinstance(spans, list):
        return []
    return [deepcopy(span) for span in spans if isinstance(span, dict) and span.get("kind") == "evidence"]
