"""The evidence that a run's span index names (`spec/03 §15.3`)."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

from .errors import CorruptCheckpointError
from .extensions import lent
from .models import RunState
from .store_ports import PutBack

__all__ = ["evidence_entries", "putting_back"]


def evidence_entries(run: RunState, put_back: PutBack | None = None) -> list[dict[str, Any]]:
    """Copies of the entries in order of recording. The id to load one by is under ``artifact_id``, and in
    what the package's recorder wrote under ``evidence_id`` too.

    Args:
        put_back: for a run that has ended; default: nothing was moved.

    Raises:
        CorruptCheckpointError: the index was moved and is gone.
    """
    runtime = run.vars.get("_runtime")
    spans = runtime.get("memory_spans") if isinstance(runtime, dict) else None
    if put_back is not None and run.is_terminal and spans is not None:
        spans = put_back(spans)
        if isinstance(spans, dict) and spans.keys() == {"$artifact"}:
            raise CorruptCheckpointError(
                f"the evidence index of run '{run.run_id}' was moved to artifact '{spans['$artifact']}', "
                "which is gone; restore it to list the run's evidence"
            )
    if not isinstance(spans, list):
        return []
    return [deepcopy(span) for span in spans if isinstance(span, dict) and span.get("kind") == "evidence"]


def putting_back(run_store: Any, artifact_store: Any) -> PutBack | None:
    """As the run store does it; for one that moves nothing itself (the run may have been saved through one
    that does), out of the artifact store. ``None`` where neither can."""
    own: PutBack | None = getattr(run_store, "put_back", None)
    resolve = lent("resolve_offloaded") if own is None and artifact_store is not None else None
    return own if resolve is None else partial(resolve, store=artifact_store, may_be_gone=True)
