"""Who asks, for the provider's traces (`spec/04 §6.3`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.models import RunState

__all__ = ["trace_metadata"]


def trace_metadata(run: RunState, given: object) -> dict[str, Any]:
    """The caller's metadata with the run's ids; the run's win. What was given is not changed."""
    metadata: dict[str, Any] = dict(given) if isinstance(given, Mapping) else {}
    metadata.update(run_id=run.run_id, workflow_id=run.workflow_id, node_id=run.current_node)
    ids = {
        "actor_id": run.actor_id,
        "session_id": run.session_id,
        "parent_run_id": run.parent_run_id,
    }
    metadata.update({name: str(value) for name, value in ids.items() if value})
    return metadata
