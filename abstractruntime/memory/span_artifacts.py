"""Reading the artifacts behind spans: one that can't be read must not cost the others (`spec/03 §2.3`)."""

from __future__ import annotations

import logging
from typing import Any, Protocol

__all__ = ["SpanArtifacts", "artifact_tags", "note_payload"]

logger = logging.getLogger(__name__)


class SpanArtifacts(Protocol):
    """What the memory asks of an artifact store (`spec/02 §10.4`)."""

    def get_metadata(self, artifact_id: str) -> Any: ...

    def load_json(self, artifact_id: str) -> Any: ...


def artifact_tags(store: SpanArtifacts, artifact_id: str) -> dict[str, str]:
    """The artifact's text tags; none when they can't be read."""
    try:
        tags = getattr(store.get_metadata(artifact_id), "tags", None)
    except Exception:
        logger.warning("metadata of artifact %s could not be read", artifact_id, exc_info=True)
        return {}
    if not isinstance(tags, dict):
        return {}
    return {key: value for key, value in tags.items() if isinstance(key, str) and isinstance(value, str)}


def note_payload(store: SpanArtifacts, artifact_id: str) -> dict[str, Any]:
    """The stored note; empty when it can't be read."""
    try:
        payload = store.load_json(artifact_id)
    except Exception:
        logger.warning("note %s could not be read", artifact_id, exc_info=True)
        return {}
    return payload if isinstance(payload, dict) else {}
