"""Artifacts in an object store: S3, Google Cloud Storage, Azure and what speaks like them (`spec/02 §10`).

Keys below ``artifacts/``: ``blobs/<blob_id>`` are contents, ``refs/<artifact_id>.json`` is what is known of
each artifact (the truth), ``runs/<hash of run id>/<artifact_id>`` are empty markers to find a run's artifacts
by, and ``trash/`` holds contents while `gc` makes sure nothing names them.

An object store knows no transactions, so every write is made in an order in which a crash leaves something
superfluous rather than something missing, and whoever removes looks again afterwards (`_unmark`, `gc`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING, Any

from abstractruntime.core.errors import ConcurrentUpdateError

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
from .artifact_meta import parse_metadata
from .json_text import encode
from .object_bucket import Bucket, Found
from .object_garbage import ObjectGarbage, blob_key, trashed

if TYPE_CHECKING:
    from obstore.store import ObjectStore

__all__ = ["ObjectArtifactStore"]

logger = logging.getLogger(__name__)

_REFS = "artifacts/refs"
_SUFFIX = ".json"
_AT_ONCE = 16
_MAX_TRIES = 20
_LOCKS = 64


class ObjectArtifactStore(ArtifactStore):
    """Artifacts in an object store, shared by any number of processes and machines.

    Contents are checked against their hash when loaded, and repaired when they are stored again. Tags of
    artifacts stored by several processes at once are merged where the store can write conditionally (S3,
    Google, Azure, memory); in a local directory the last one wins: there use `FileArtifactStore`.

    All methods raise `ServiceUnavailableError` when the store can't be reached or refuses the credentials.
    A process that has used object stores must not be forked to use them in the child too: make the store, but
    use it first in the child (as `App(artifacts=...)` does), or start children by ``spawn``.

    Args:
        store: a store of ``obstore.store``, with prefix, endpoint and credentials as you set them.

    Raises:
        ConfigurationError: obstore is not installed (``pip install 'abstractruntime[objects]'``); by every
            method: it was used before this process was forked.
    """

    def __init__(self, store: ObjectStore | Bucket) -> None:
        self._bucket = store if isinstance(store, Bucket) else Bucket(store)
        # Threads of one process take turns on an artifact, also where the store can't write conditionally.
        self._locks = [Lock() for _ in range(_LOCKS)]

    @classmethod
    def from_url(cls, url: str) -> ObjectArtifactStore:
        """The store at ``s3://bucket/prefix``, ``gs://``, ``az://``, ``file:///directory`` or ``memory:///``.

        Region, endpoint and credentials come from the environment (``AWS_*``, ``GOOGLE_*``, ``AZURE_*``) or
        the machine's role; for anything else make the store with ``obstore.store`` and pass it.

        Raises:
            ConfigurationError: the URL can't be used, or obstore is not installed.
        """
        return cls(Bucket.from_url(url))

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
            ConcurrentUpdateError: others keep changing the same artifact; try again.
        """
        kept = as_bytes(content)
        metadata = metadata_of(
            kept, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        new_id, blob_id = metadata.artifact_id, compute_blob_id(kept)
        _encoded(metadata)  # refuses tags that are not JSON before anything is written
        self._bucket.put(blob_key(blob_id), kept)  # also when it is there: it may be damaged
        self._mark(metadata)
        with self._locks[hash(new_id) % _LOCKS]:
            earlier, metadata = self._put_ref(metadata, content_type if artifact_id is None else None)
        # A removal beside us may have taken what the ref relies on before it saw the ref.
        if not self._bucket.has(blob_key(blob_id)):
            self._bucket.put(blob_key(blob_id), kept)
        if run_id is not None and not self._bucket.has(_mark_key(run_id, new_id)):
            self._mark(metadata)
        if earlier is not None and earlier.run_id != run_id:
            self._unmark(earlier)
        return metadata

    def _put_ref(
        self, metadata: ArtifactMetadata, merged_as: str | None
    ) -> tuple[ArtifactMetadata | None, ArtifactMetadata]:
        """What was known before, and what is now.

        Args:
            merged_as: the type as `store` got it, to keep what is known; ``None`` replaces it.
        """
        key = _ref_key(metadata.artifact_id)
        for _ in range(_MAX_TRIES):
            found = self._bucket.get(key)
            earlier = _known(found, key)
            wanted = metadata
            if earlier is not None and merged_as is not None:
                wanted = merged(earlier, metadata, merged_as)
            if self._bucket.put_over(key, _encoded(wanted), found):
                return earlier, wanted
        raise ConcurrentUpdateError(
            f"artifact '{metadata.artifact_id}' in {self._bucket.address} was changed by others "
            f"{_MAX_TRIES} times meanwhile; store it again"
        )

    def load(self, artifact_id: str) -> Artifact | None:
        """See `ArtifactStore.load`.

        Raises:
            json.JSONDecodeError, CorruptArtifactError: the metadata is damaged, or the content is not what
                was stored.
        """
        metadata = self.get_metadata(artifact_id)
        if metadata is None or metadata.blob_id is None:
            return None
        content = self._content(metadata.blob_id)
        if content is None:
            return None
        if compute_blob_id(content) != metadata.blob_id:
            raise CorruptArtifactError(
                f"content of artifact '{artifact_id}' is damaged: blob {metadata.blob_id} has another hash. "
                "Storing the right content again repairs it."
            )
        return Artifact(metadata, content)

    def _content(self, blob_id: str) -> bytes | None:
        """Wherever `gc` has it at the moment: in its place, put aside, or put back."""
        for look in (self._in_place, self._put_aside, self._in_place):
            found = look(blob_id)
            if found is not None:
                return found.content
        return None

    def _in_place(self, blob_id: str) -> Found | None:
        return self._bucket.get(blob_key(blob_id))

    def _put_aside(self, blob_id: str) -> Found | None:
        return next(
            (found for key in trashed(self._bucket, blob_id) if (found := self._bucket.get(key))), None
        )

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """See `ArtifactStore.get_metadata`.

        Raises:
            json.JSONDecodeError, CorruptArtifactError: the metadata is damaged.
        """
        validate_artifact_id(artifact_id)
        return self._read(artifact_id)

    def _read(self, artifact_id: str) -> ArtifactMetadata | None:
        key = _ref_key(artifact_id)
        found = self._bucket.get(key)
        return None if found is None else parse_metadata(found.content, key)

    def exists(self, artifact_id: str) -> bool:
        """Whether both metadata and content are there."""
        metadata = self.get_metadata(artifact_id)
        if metadata is None or metadata.blob_id is None:
            return False
        return self._bucket.has(blob_key(metadata.blob_id)) or self._content(metadata.blob_id) is not None

    def delete(self, artifact_id: str) -> bool:
        """Remove the artifact; the content stays until `gc`, other artifacts may share it."""
        validate_artifact_id(artifact_id)
        key = _ref_key(artifact_id)
        found = self._bucket.get(key)
        if found is None:
            return False
        self._bucket.delete(key)
        known = _known(found, key)
        if known is not None:
            self._unmark(known)
        return True

    def delete_by_run(self, run_id: str) -> int:
        """See `ArtifactStore.delete_by_run`; several are removed at once."""
        wanted = [metadata.artifact_id for metadata in self.list_by_run(run_id)]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="artifacts") as pool:
            return sum(pool.map(self.delete, wanted))

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts, oldest first; reads no other run's. Damaged ones are left out and logged."""
        marked = [entry.name for entry in self._bucket.entries(_marks(run_id))]
        found = [each for each in self._readable(marked)[0] if each.run_id == run_id]
        return sorted(found, key=lambda metadata: (metadata.created_at, metadata.artifact_id))

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_all`. Reads the metadata of all artifacts: object stores sort nothing.
        Damaged ones are left out and reported in the log."""
        return newest_first(self._readable(self._artifact_ids())[0], limit)

    def gc(self, *, dry_run: bool = True) -> dict[str, Any]:
        """Remove contents that no artifact names; safe beside any other use, also another `gc`.

        Nothing is removed while any metadata can't be read, since what it names is unknown: ``errors`` then
        names the artifacts to mend or delete.

        Returns:
            ``dry_run, blobs_total, blobs_referenced, blobs_deleted, bytes_reclaimed`` (with ``dry_run``: what
            would go) and ``errors``, a list of ``{"blob_id", "error"}``.
        """
        return ObjectGarbage(self._bucket, self._named).collect(dry_run=dry_run)

    def _named(self, artifact_ids: Iterable[str]) -> tuple[set[str], list[str]]:
        """The contents these artifacts name, and the artifacts that can't be read."""
        readable, damaged = self._readable(artifact_ids)
        return {metadata.blob_id for metadata in readable if metadata.blob_id}, damaged

    def _artifact_ids(self) -> list[str]:
        return [entry.name.removesuffix(_SUFFIX) for entry in self._bucket.entries(_REFS)]

    def _readable(self, artifact_ids: Iterable[str]) -> tuple[list[ArtifactMetadata], list[str]]:
        """What is known of them, and the ids of those whose metadata is damaged; several are read at once."""
        readable: list[ArtifactMetadata] = []
        damaged: list[str] = []

        def read(artifact_id: str) -> None:
            try:
                metadata = self._read(artifact_id)
            except ValueError as exc:
                logger.warning("artifact '%s' is left out: %s", artifact_id, exc)
                damaged.append(artifact_id)
                return
            if metadata is not None:  # not deleted meanwhile
                readable.append(metadata)

        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="artifacts") as pool:
            for _ in pool.map(read, artifact_ids):
                pass
        return readable, damaged

    def _mark(self, metadata: ArtifactMetadata) -> None:
        if metadata.run_id is not None:
            self._bucket.put(_mark_key(metadata.run_id, metadata.artifact_id), b"")

    def _unmark(self, gone: ArtifactMetadata) -> None:
        """The artifact is not the run's any more; unless somebody has just stored it there again."""
        if gone.run_id is None:
            return
        self._bucket.delete(_mark_key(gone.run_id, gone.artifact_id))
        now = _known(self._bucket.get(_ref_key(gone.artifact_id)), gone.artifact_id)
        if now is not None and now.run_id == gone.run_id:
            self._mark(now)


def _known(found: Found | None, key: str) -> ArtifactMetadata | None:
    """``None`` also for damaged metadata: storing again mends it."""
    try:
        return None if found is None else parse_metadata(found.content, key)
    except ValueError:
        return None


def _encoded(metadata: ArtifactMetadata) -> bytes:
    data = metadata.to_dict()
    encode(data, f"the metadata of artifact '{metadata.artifact_id}'")
    return json.dumps(data).encode()


def _ref_key(artifact_id: str) -> str:
    return f"{_REFS}/{artifact_id}{_SUFFIX}"


def _marks(run_id: str) -> str:
    """A run id may hold anything, a key may not; equal hashes are told apart by the metadata."""
    return f"artifacts/runs/{sha256(run_id.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _mark_key(run_id: str, artifact_id: str) -> str:
    return f"{_marks(run_id)}/{artifact_id}"
