"""Artifacts that live as long as the process (`spec/02 §10.5`)."""

from __future__ import annotations

from dataclasses import replace
from threading import RLock

from .artifact_base import (
    DEFAULT_TYPE,
    Artifact,
    ArtifactMetadata,
    ArtifactStore,
    as_bytes,
    merged,
    metadata_of,
    newest_first,
)
from .artifact_ids import validate_artifact_id

__all__ = ["InMemoryArtifactStore"]


class InMemoryArtifactStore(ArtifactStore):
    """Artifacts in a dict. Hands out copies; safe to share among threads."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._artifacts: dict[str, Artifact] = {}
        self._by_run: dict[str, dict[str, None]] = {}

    def store(
        self,
        content: bytes,
        *,
        content_type: str = DEFAULT_TYPE,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """See `ArtifactStore.store`."""
        kept = as_bytes(content)
        metadata = metadata_of(
            kept, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        new_id = metadata.artifact_id
        with self._lock:
            earlier = self._artifacts.get(new_id)
            if earlier is not None:
                if artifact_id is None:
                    metadata = merged(earlier.metadata, metadata, content_type)
                if earlier.metadata.run_id != run_id:
                    self._leave_run(earlier.metadata)
            self._artifacts[new_id] = Artifact(metadata, kept)
            if run_id is not None:
                self._by_run.setdefault(run_id, {})[new_id] = None
        return _copy(metadata)

    def load(self, artifact_id: str) -> Artifact | None:
        """See `ArtifactStore.load`."""
        validate_artifact_id(artifact_id)
        with self._lock:
            found = self._artifacts.get(artifact_id)
        return None if found is None else Artifact(_copy(found.metadata), found.content)

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """See `ArtifactStore.get_metadata`."""
        found = self.load(artifact_id)
        return None if found is None else found.metadata

    def exists(self, artifact_id: str) -> bool:
        """See `ArtifactStore.exists`."""
        return self.load(artifact_id) is not None

    def delete(self, artifact_id: str) -> bool:
        """See `ArtifactStore.delete`."""
        validate_artifact_id(artifact_id)
        with self._lock:
            found = self._artifacts.pop(artifact_id, None)
            if found is not None:
                self._leave_run(found.metadata)
        return found is not None

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts in the order they were first stored."""
        with self._lock:
            found = [self._artifacts[artifact_id] for artifact_id in self._by_run.get(run_id, ())]
        return [_copy(artifact.metadata) for artifact in found]

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_all`."""
        with self._lock:
            found = [artifact.metadata for artifact in self._artifacts.values()]
        return [_copy(metadata) for metadata in newest_first(found, limit)]

    def _leave_run(self, metadata: ArtifactMetadata) -> None:
        if metadata.run_id is None:
            return
        of_run = self._by_run.get(metadata.run_id, {})
        of_run.pop(metadata.artifact_id, None)
        if not of_run:
            self._by_run.pop(metadata.run_id, None)


def _copy(metadata: ArtifactMetadata) -> ArtifactMetadata:
    return replace(metadata, tags=dict(metadata.tags))
