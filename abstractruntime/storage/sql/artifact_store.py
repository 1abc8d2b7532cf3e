"""Artifacts in SQLite or PostgreSQL: a fleet shares them without a shared disk (`spec/02 §10`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..artifact_base import (
    DEFAULT_TYPE,
    Artifact,
    ArtifactMetadata,
    ArtifactStore,
    CorruptArtifactError,
    as_bytes,
    merged,
    metadata_of,
)
from ..artifact_ids import compute_blob_id, validate_artifact_id
from ..json_text import decode, encode
from . import deletion
from .driver import Session
from .engine import Database
from .inbox import lock_keys
from .statements import Statement, statement

__all__ = ["SqlArtifactStore"]

logger = logging.getLogger(__name__)

_COLUMNS = "a.artifact_id, a.content_type, a.size_bytes, a.created_at, a.blob_id, a.run_id, a.tags_json"
_METADATA = statement(f"SELECT {_COLUMNS} FROM artifacts a WHERE a.artifact_id = :artifact_id")
_ARTIFACT = statement(
    f"SELECT {_COLUMNS}, b.content FROM artifacts a JOIN artifact_blobs b ON b.blob_id = a.blob_id "
    "WHERE a.artifact_id = :artifact_id"
)
_OF_RUN = statement(
    f"SELECT {_COLUMNS} FROM artifacts a WHERE a.run_id = :run_id ORDER BY a.created_at, a.artifact_id"
)
_NEWEST = statement(
    f"SELECT {_COLUMNS} FROM artifacts a ORDER BY a.created_at DESC, a.artifact_id DESC LIMIT :limit"
)
# A damaged content is replaced by the right one; an intact one is left alone.
_KEEP_BLOB = statement("""
INSERT INTO artifact_blobs (blob_id, size_bytes, content) VALUES (:blob_id, :size_bytes, :content)
ON CONFLICT (blob_id) DO UPDATE SET size_bytes = excluded.size_bytes, content = excluded.content
WHERE artifact_blobs.content <> excluded.content
""")
_KEEP_METADATA = statement("""
INSERT INTO artifacts (artifact_id, content_type, size_bytes, created_at, blob_id, run_id, tags_json)
VALUES (:artifact_id, :content_type, :size_bytes, :created_at, :blob_id, :run_id, :tags_json)
ON CONFLICT (artifact_id) DO UPDATE SET content_type = excluded.content_type,
    size_bytes = excluded.size_bytes, created_at = excluded.created_at, blob_id = excluded.blob_id,
    run_id = excluded.run_id, tags_json = excluded.tags_json
""")
_DELETE = statement("DELETE FROM artifacts WHERE artifact_id = :artifact_id")
_DELETE_OF_RUN = statement("DELETE FROM artifacts WHERE run_id = :run_id")
_UNUSED = "NOT EXISTS (SELECT 1 FROM artifacts a WHERE a.blob_id = artifact_blobs.blob_id)"
_COUNT = statement(f"""
SELECT count(*), COALESCE(sum(CASE WHEN {_UNUSED} THEN 1 ELSE 0 END), 0),
       COALESCE(sum(CASE WHEN {_UNUSED} THEN size_bytes ELSE 0 END), 0) FROM artifact_blobs
""")
_COLLECT = statement(f"DELETE FROM artifact_blobs WHERE {_UNUSED}")

# On PostgreSQL everybody who relies on a stored content shares this lock, and gc has it alone; SQLite has one
# writer at a time anyway. It ends with the transaction.
_GC_LOCK = 0x61725F626C6F6273  # any constant
_USE_BLOBS = statement("", postgresql=f"SELECT pg_advisory_xact_lock_shared({_GC_LOCK})")
_COLLECT_BLOBS = statement("", postgresql=f"SELECT pg_advisory_xact_lock({_GC_LOCK})")


class SqlArtifactStore(ArtifactStore):
    """Artifacts in tables of a migrated database, shared by all that use it; equal contents are kept once.

    Contents are checked against their hash when loaded, and repaired when they are stored again. One content
    should stay below some 100 MB (the databases end at 1 GB): what is larger belongs into an
    `ObjectArtifactStore` or files. All methods raise `ServiceUnavailableError` when the database can't be
    reached.

    Args:
        database: see `abstractruntime.storage.sql.open_database`; its schema must be current (`migrate`).
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def store(
        self,
        content: bytes,
        *,
        content_type: str = DEFAULT_TYPE,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """See `ArtifactStore.store`. Content and metadata are written in one transaction."""
        kept = as_bytes(content)
        metadata = metadata_of(
            kept, content_type=content_type, run_id=run_id, tags=tags, artifact_id=artifact_id
        )
        _row(metadata)  # refuses tags that are not JSON before anything is written
        with self._database.transaction() as session:
            _lock(session, _USE_BLOBS)
            # What is known of the artifact is read, merged and written back: one at a time.
            lock_keys(session, [f"artifact:{metadata.artifact_id}"])
            if artifact_id is None:
                metadata = _with_what_is_known(session, metadata, content_type)
            blob = {"blob_id": metadata.blob_id, "size_bytes": len(kept), "content": kept}
            session.execute(_KEEP_BLOB, blob)
            session.execute(_KEEP_METADATA, _row(metadata))
        return metadata

    def load(self, artifact_id: str) -> Artifact | None:
        """See `ArtifactStore.load`.

        Raises:
            CorruptArtifactError: the metadata is damaged, or the content is not what was stored.
        """
        row = self._one(_ARTIFACT, artifact_id)
        if row is None:
            return None
        *columns, content = row
        metadata, kept = _metadata(columns), bytes(content)
        if compute_blob_id(kept) != metadata.blob_id:
            raise CorruptArtifactError(
                f"content of artifact '{artifact_id}' is damaged: blob {metadata.blob_id} has another hash. "
                "Storing the right content again repairs it."
            )
        return Artifact(metadata, kept)

    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """See `ArtifactStore.get_metadata`.

        Raises:
            CorruptArtifactError: the metadata is damaged.
        """
        row = self._one(_METADATA, artifact_id)
        return None if row is None else _metadata(row)

    def exists(self, artifact_id: str) -> bool:
        """See `ArtifactStore.exists`."""
        return self._one(_METADATA, artifact_id) is not None

    def delete(self, artifact_id: str) -> bool:
        """Remove the artifact; the content stays until `gc`, other artifacts may share it."""
        validate_artifact_id(artifact_id)
        with self._database.transaction() as session:
            return session.execute(_DELETE, {"artifact_id": artifact_id}).rowcount > 0

    def delete_by_run(self, run_id: str) -> int:
        """See `ArtifactStore.delete_by_run`; in one statement."""
        with self._database.transaction() as session:
            return session.execute(_DELETE_OF_RUN, {"run_id": run_id}).rowcount

    def delete_by_runs(self, run_ids: Sequence[str]) -> int:
        """Remove the artifacts of these runs in one transaction; how many there were."""
        return deletion.delete_artifacts(self._database, run_ids)

    def measure_runs(self, run_ids: Sequence[str]) -> tuple[int, int]:
        """How many artifacts these runs have, and their size in bytes."""
        return deletion.measure_artifacts(self._database, run_ids)

    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts, oldest first. Damaged ones are left out and reported in the log."""
        rows = self._database.read(lambda session: session.execute(_OF_RUN, {"run_id": run_id}).fetchall())
        return _readable(rows)

    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """See `ArtifactStore.list_all`. Damaged ones are left out and reported in the log."""
        if limit <= 0:
            return []
        params = {"limit": min(limit, 2**62)}
        return _readable(self._database.read(lambda session: session.execute(_NEWEST, params).fetchall()))

    def gc(self, *, dry_run: bool = True) -> dict[str, Any]:
        """Remove contents that no artifact names, in one transaction that waits for every `store` under way.

        Returns:
            ``dry_run, blobs_total, blobs_referenced, blobs_deleted, bytes_reclaimed`` (with ``dry_run``: what
            would go) and ``errors``, which stays empty: a failure raises and removes nothing.
        """
        with self._database.transaction() as session:
            _lock(session, _COLLECT_BLOBS)
            total, unused, size = session.execute(_COUNT).fetchone()
            if not dry_run:
                session.execute(_COLLECT)
        return {
            "dry_run": dry_run,
            "blobs_total": int(total),
            "blobs_referenced": int(total) - int(unused),
            "blobs_deleted": int(unused),
            "bytes_reclaimed": int(size),
            "errors": [],
        }

    def _one(self, query: Statement, artifact_id: str) -> Any:
        validate_artifact_id(artifact_id)
        return self._database.read(
            lambda session: session.execute(query, {"artifact_id": artifact_id}).fetchone()
        )


def _lock(session: Session, lock: Statement) -> None:
    if session.dialect.name == "postgresql":
        session.execute(lock)


def _with_what_is_known(session: Session, metadata: ArtifactMetadata, said_type: str) -> ArtifactMetadata:
    row = session.execute(_METADATA, {"artifact_id": metadata.artifact_id}).fetchone()
    try:
        return metadata if row is None else merged(_metadata(row), metadata, said_type)
    except CorruptArtifactError:  # storing again mends it
        return metadata


def _row(metadata: ArtifactMetadata) -> Mapping[str, object]:
    row = metadata.to_dict()
    row["tags_json"] = encode(row.pop("tags"), f"the tags of artifact '{metadata.artifact_id}'")
    return row


def _metadata(row: Iterable[Any]) -> ArtifactMetadata:
    artifact_id, content_type, size_bytes, created_at, blob_id, run_id, tags_json = row
    try:
        tags = dict(decode(tags_json))
    except (TypeError, ValueError) as exc:
        raise CorruptArtifactError(
            f"the tags of artifact '{artifact_id}' are damaged: {exc}. Storing it again mends them."
        ) from exc
    return ArtifactMetadata(artifact_id, content_type, int(size_bytes), created_at, blob_id, run_id, tags)


def _readable(rows: Iterable[Any]) -> list[ArtifactMetadata]:
    found = []
    for row in rows:
        try:
            found.append(_metadata(row))
        except CorruptArtifactError as exc:
            logger.warning("left out of a listing: %s", exc)
    return found
