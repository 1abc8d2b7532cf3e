"""The run's own variables in a bundle, large texts as artifacts (`spec/01 §16.3`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.copies import copied
from abstractruntime.core.models import RunState

from .ports import ArtifactPort, best_effort

__all__ = ["MAX_INLINE_BYTES", "input_data"]

MAX_INLINE_BYTES = 262144
"""A leaf with more UTF-8 bytes is replaced by a reference."""


def input_data(run: RunState, artifacts: ArtifactPort | None) -> dict[str, Any]:
    """A copy of the top-level variables that are not the runtime's own (``_…``)."""
    own = {key: value for key, value in run.vars.items() if isinstance(key, str) and key[:1] != "_"}
    data: dict[str, Any] = copied(own)
    return data if artifacts is None else _offloaded(data, artifacts, run.run_id, "input_data")


def _offloaded(value: Any, artifacts: ArtifactPort, run_id: str, path: str) -> Any:
    if isinstance(value, dict):
        if "$artifact" in value:
            return value
        return {key: _offloaded(item, artifacts, run_id, f"{path}.{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_offloaded(item, artifacts, run_id, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, str) and len(value) * 4 > MAX_INLINE_BYTES:
        return best_effort(f"artifact of {path}", lambda: _stored(value, artifacts, run_id, path), value)
    return value


def _stored(text: str, artifacts: ArtifactPort, run_id: str, path: str) -> Any:
    if len(text.encode()) <= MAX_INLINE_BYTES:
        return text
    tags = {"source": "history_bundle", "path": path, "kind": "text"}
    return {"$artifact": artifacts.store_text(text, run_id=run_id, tags=tags).artifact_id}
