"""Artifacts as a host may show them to somebody: those of certain runs, and no others (`spec/02 §15.4`, U-4).

An artifact id is no permission: it names an artifact of any run, and ids travel in prompts, logs and ledgers.
Whoever serves artifacts over a boundary (HTTP, a tool's argument) decides which runs the caller may see and
serves from this view; the kernel itself needs none.
"""

from __future__ import annotations

from collections.abc import Iterable

from abstractruntime.core.errors import AccessDeniedError, InvalidInputError

from .artifact_base import DEFAULT_TYPE, Artifact, ArtifactMetadata, ArtifactStore, newest_first

__all__ = ["ScopedArtifacts"]


class ScopedArtifacts(ArtifactStore):
    """A view of a store in which only the artifacts of certain runs exist.

    Artifacts of other runs, and of no run, are unknown here: they can't be told from ids nobody ever used.

    Args:
        store: where the artifacts are.
        run_ids: the runs the caller may see, e.g. those of a session; at least one.

    Raises:
        InvalidInputError: no runs, or something else than their ids.
    """

    def __init__(self, store: ArtifactStore, run_ids: Iterable[str]) -> None:
        self._store = store
        self._run_ids = frozenset(run_ids)
        if (
            isinstance(run_ids, str)
            or not self._run_ids
            or not all(run_id.strip() for run_id in self._run_ids)
        ):
            raise InvalidInputError(
                f"ScopedArtifacts needs the ids of the runs to show, not {run_ids!r}: pass a list of them."
            )

    def load(self, artifact_id: str) -> Artifact | None:
        """See `ArtifactStore.load`."""
        if self.get_metadata(artifact_id) is None:
            return None
        artifact = self._store.load(artifact_id)
        # Judged by what was loaded: an explicit id may have got another run's content meanwhile.
        return artifact if artifact is not None and self._is_shown(artifact.metadata) else None

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """See `ArtifactStore.get_metadata`."""
        metadata = self._store.get_metadata(artifact_id)
        return metadata if metadata is not None and self._is_shown(metadata) else None

    def exists(self, artifact_id: str) -> bool:
        """See `ArtifactStore.exists`."""
        return self.get_metadata(artifact_id) is not None and self._store.exists(artifact_id)

    def delete(self, artifact_id: str) -> bool:
        """See `ArtifactStore.delete`."""
        return self.get_metadata(artifact_id) is not None and self._store.delete(artifact_id)

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_by_run`."""
        return self._store.list_by_run(run_id) if run_id in self._run_ids else []

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_all`; costs as much as the shown runs have artifacts."""
        found = [metadata for run_id in self._run_ids for metadata in self._store.list_by_run(run_id)]
        return newest_first(found, limit)

    def store(
        self,
        content: bytes,
        *,
        content_type: str = DEFAULT_TYPE,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """See `ArtifactStore.store`.

        Raises:
            AccessDeniedError: ``run_id`` is none of the shown runs, or the explicit id is not theirs.
        """
        if run_id not in self._run_ids:
            raise AccessDeniedError(
                f"artifact not stored: run {run_id!r} is none of those this caller may see"
            )
        if artifact_id is not None:
            known = self._store.get_metadata(artifact_id)
            if known is not None and not self._is_shown(known):
                raise AccessDeniedError(
                    f"artifact not stored: the id {artifact_id!r} can't be used; choose another"
                )
        return self._store.store(
            content, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )

    def _is_shown(self, metadata: ArtifactMetadata) -> bool:
        return metadata.run_id in self._run_ids
