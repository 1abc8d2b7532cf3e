"""Artifacts in a directory; equal contents share one file (`spec/02 §10.6`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .artifact_base import (
    DEFAULT_TYPE,
    Artifact,
    ArtifactMetadata,
    ArtifactStore,
    CorruptArtifactError,
    as_bytes,
    merged,
    metadata_of,
    newest_first,
)
from .artifact_ids import compute_blob_id, validate_artifact_id
from .artifact_index import ArtifactIndex
from .artifact_meta import read_metadata, write_metadata
from .file_locks import locked
from .replaced_files import make_private_dir, write_whole

__all__ = ["FileArtifactStore"]

_BLOB_ID = re.compile(r"[0-9a-f]{64}")


class FileArtifactStore(ArtifactStore):
    """Artifacts under ``<base_dir>/artifacts``, shared by any number of objects and processes.

    A stored artifact survives a power cut. Files are readable by their owner only. Contents are checked
    against their hash when loaded, and repaired when they are stored again. ``store``, ``delete`` and ``gc``
    exclude each other where they must, so ``gc`` never takes what a ``store`` relies on.

    Args:
        base_dir: created with its parents; may be shared with file stores of runs and ledgers.
    """

    def __init__(self, base_dir: str | Path) -> None:
        self._root = Path(base_dir) / "artifacts"
        self._blobs = self._root / "blobs"
        self._refs = self._root / "refs"
        for directory in (Path(base_dir), self._root, self._blobs, self._refs):
            make_private_dir(directory)
        self._lock_file = self._root / ".lock"
        self._index = ArtifactIndex(self._refs, self._root)

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
        metadata = metadata_of(  # refuses an id before anything is written
            kept, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        # Alone, because what is known of the artifact is read, merged and written back.
        with locked(self._lock_file, alone=True):
            if artifact_id is None:
                metadata = self._with_what_is_known(metadata, content_type)
            self._keep_blob(compute_blob_id(kept), kept)
            write_metadata(self._ref_path(metadata.artifact_id), metadata)
        return metadata

    def load(self, artifact_id: str) -> Artifact | None:
        """See `ArtifactStore.load`.

        Raises:
            json.JSONDecodeError, CorruptArtifactError: the metadata is damaged, or the content is not what
                was stored.
        """
        metadata = self.get_metadata(artifact_id)
        if metadata is None:
            return None
        try:
            content = self._content_path(metadata, artifact_id).read_bytes()
        except FileNotFoundError:
            return None
        if metadata.blob_id and compute_blob_id(content) != metadata.blob_id:
            raise CorruptArtifactError(
                f"content of artifact '{artifact_id}' is damaged: blob {metadata.blob_id} has another hash. "
                "Storing the right content again repairs it."
            )
        return Artifact(metadata, content)

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """See `ArtifactStore.get_metadata`.

        Raises:
            json.JSONDecodeError, CorruptArtifactError: the metadata is damaged.
        """
        validate_artifact_id(artifact_id)
        return read_metadata(self._ref_path(artifact_id)) or read_metadata(self._legacy(artifact_id, "meta"))

    def exists(self, artifact_id: str) -> bool:
        """Whether both metadata and content are there."""
        metadata = self.get_metadata(artifact_id)
        return metadata is not None and self._content_path(metadata, artifact_id).is_file()

    def delete(self, artifact_id: str) -> bool:
        """Remove the artifact; the content stays until `gc`, other artifacts may share it."""
        validate_artifact_id(artifact_id)
        removed = False
        with locked(self._lock_file, alone=True):
            for path in (
                self._ref_path(artifact_id),
                self._legacy(artifact_id, "meta"),
                self._legacy(artifact_id, "bin"),
            ):
                if path.exists():
                    path.unlink()
                    removed = True
        return removed

    def delete_by_runs(self, run_ids: Sequence[str]) -> int:
        """Remove the artifacts of these runs; how many there were. One look at the directory for all."""
        return sum(self.delete(metadata.artifact_id) for metadata in self._index.of_runs(run_ids))

    def measure_runs(self, run_ids: Sequence[str]) -> tuple[int, int]:
        """How many artifacts these runs have, and their size in bytes."""
        sizes = [metadata.size_bytes for metadata in self._index.of_runs(run_ids)]
        return len(sizes), sum(sizes)

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts, oldest first. Damaged ones are left out and reported in the log."""
        return [_copy(metadata) for metadata in self._index.of_run(run_id)]

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_all`. Damaged ones are left out and reported in the log."""
        return [_copy(metadata) for metadata in newest_first(self._index.everything()[0], limit)]

    def gc(self, *, dry_run: bool = True) -> dict[str, Any]:
        """Remove contents that no artifact names.

        Nothing is removed while any metadata can't be read, since what it names is unknown: ``errors`` then
        names the artifacts to mend or delete.

        Returns:
            ``dry_run, blobs_total, blobs_referenced, blobs_deleted, bytes_reclaimed`` (with ``dry_run``: what
            would go) and ``errors``, a list of ``{"blob_id", "error"}``.
        """
        with locked(self._lock_file, alone=True):
            artifacts, damaged = self._index.everything()
            blobs = {path.stem: path for path in self._blobs.glob("*.bin") if _BLOB_ID.fullmatch(path.stem)}
            named = {metadata.blob_id for metadata in artifacts}
            report: dict[str, Any] = {
                "dry_run": dry_run,
                "blobs_total": len(blobs),
                "blobs_referenced": len(named & blobs.keys()),
                "blobs_deleted": 0,
                "bytes_reclaimed": 0,
                "errors": [
                    {
                        "blob_id": None,
                        "error": f"metadata of artifact '{artifact_id}' can't be read: gc stopped",
                    }
                    for artifact_id in damaged
                ],
            }
            if damaged:
                return report
            for blob_id in sorted(blobs.keys() - named):
                try:
                    size = blobs[blob_id].stat().st_size
                    if not dry_run:
                        blobs[blob_id].unlink()
                except OSError as exc:
                    report["errors"].append({"blob_id": blob_id, "error": str(exc)})
                    continue
                report["blobs_deleted"] += 1
                report["bytes_reclaimed"] += size
        return report

    def _with_what_is_known(self, metadata: ArtifactMetadata, said_type: str) -> ArtifactMetadata:
        try:
            earlier = self.get_metadata(metadata.artifact_id)
        except ValueError:  # damaged: storing again mends it
            return metadata
        return metadata if earlier is None else merged(earlier, metadata, said_type)

    def _keep_blob(self, blob_id: str, content: bytes) -> None:
        path = self._blob_path(blob_id)
        try:
            if path.stat().st_size == len(content) and path.read_bytes() == content:
                return
        except FileNotFoundError:
            pass
        write_whole(path, content)

    def _content_path(self, metadata: ArtifactMetadata, artifact_id: str) -> Path:
        if not metadata.blob_id:
            return self._legacy(artifact_id, "bin")
        if _BLOB_ID.fullmatch(metadata.blob_id) is None:  # it becomes a file name
            raise CorruptArtifactError(
                f"artifact '{artifact_id}' names an impossible blob {metadata.blob_id!r}"
            )
        return self._blob_path(metadata.blob_id)

    def _blob_path(self, blob_id: str) -> Path:
        return self._blobs / f"{blob_id}.bin"

    def _ref_path(self, artifact_id: str) -> Path:
        return self._refs / f"{artifact_id}.meta"

    def _legacy(self, artifact_id: str, suffix: str) -> Path:
        return self._root / f"{artifact_id}.{suffix}"


def _copy(metadata: ArtifactMetadata) -> ArtifactMetadata:
    return ArtifactMetadata.from_dict(metadata.to_dict())
