"""Removing contents that no artifact names from an object store, without a lock (`spec/02 §15.2`, D-7).

A content is copied aside before it is removed. Then the refs are listed again: one that was written since the
first look may name the content, and gets it back. A `store` that writes its ref after that second look finds
the content missing, because it looks for it after it has written the ref, and writes it again. Between both,
readers find it put aside. Each collection puts contents aside under a name of its own, so that several don't
take them from each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import uuid4

from .artifact_ids import compute_blob_id
from .object_bucket import Bucket

__all__ = ["ObjectGarbage", "blob_key", "trashed"]

_BLOBS = "artifacts/blobs"
_REFS = "artifacts/refs"
_TRASH = "artifacts/trash"
_ABANDONED = timedelta(days=1)
"""A collection that put something aside this long ago was killed; far longer than one takes, and than clocks
differ."""

Named = Callable[[Iterable[str]], tuple[set[str], list[str]]]


def blob_key(blob_id: str) -> str:
    """Where a content is."""
    return f"{_BLOBS}/{blob_id}"


def trashed(bucket: Bucket, blob_id: str) -> list[str]:
    """Where a content is put aside."""
    place = f"{_TRASH}/{blob_id}"
    return [f"{place}/{entry.name}" for entry in bucket.entries(place)]


class ObjectGarbage:
    """One collection.

    Args:
        named: the contents that artifacts (by id) name, and those artifacts that can't be read.
    """

    def __init__(self, bucket: Bucket, named: Named) -> None:
        self._bucket = bucket
        self._named = named
        self._me = uuid4().hex

    def collect(self, *, dry_run: bool) -> dict[str, Any]:
        """See `ObjectArtifactStore.gc`."""
        blobs = {entry.name: entry.size for entry in self._bucket.entries(_BLOBS)}
        refs = self._refs()
        named, damaged = self._named(refs)
        unused = sorted(blobs.keys() - named)
        report: dict[str, Any] = {
            "dry_run": dry_run,
            "blobs_total": len(blobs),
            "blobs_referenced": len(blobs) - len(unused),
            "blobs_deleted": 0,
            "bytes_reclaimed": 0,
            "errors": [_unreadable(artifact_id) for artifact_id in damaged],
        }
        if damaged:
            return report
        if not dry_run:
            unused = self._remove(unused, refs, report)
            self._tidy(named)
        report["blobs_deleted"] = len(unused)
        report["bytes_reclaimed"] = sum(blobs[blob_id] for blob_id in unused)
        return report

    def _refs(self) -> dict[str, tuple[str | None, datetime]]:
        """What tells each artifact's ref from a later one, by artifact id."""
        return {
            entry.name.removesuffix(".json"): (entry.e_tag, entry.modified)
            for entry in self._bucket.entries(_REFS)
        }

    def _remove(
        self, unused: list[str], refs: dict[str, tuple[str | None, datetime]], report: dict[str, Any]
    ) -> list[str]:
        """Those that are gone for good."""
        aside = [blob_id for blob_id in unused if self._bucket.copy(blob_key(blob_id), self._aside(blob_id))]
        for blob_id in aside:
            self._bucket.delete(blob_key(blob_id))
        changed = [
            artifact_id for artifact_id, stamp in self._refs().items() if refs.get(artifact_id) != stamp
        ]
        named, damaged = self._named(changed)
        report["errors"] += [_unreadable(artifact_id) for artifact_id in damaged]
        kept = {blob_id for blob_id in aside if damaged or blob_id in named}
        for blob_id in kept:
            self._put_back(blob_id, self._aside(blob_id))
        for blob_id in aside:
            self._bucket.delete(self._aside(blob_id))
        return [blob_id for blob_id in aside if blob_id not in kept]

    def _put_back(self, blob_id: str, aside: str) -> None:
        """Unless the right content is back already, or what was put aside is damaged anyway."""
        found = self._bucket.get(aside)
        if found is None or self._bucket.has(blob_key(blob_id)):
            return
        if compute_blob_id(found.content) == blob_id:
            self._bucket.put(blob_key(blob_id), found.content)

    def _tidy(self, named: set[str]) -> None:
        """Finish what collections that were killed have left."""
        for entry in self._bucket.entries(_TRASH):
            if datetime.now(timezone.utc) - entry.modified < _ABANDONED:
                continue
            blob_id = entry.name.partition("/")[0]
            key = f"{_TRASH}/{entry.name}"
            if blob_id in named:
                self._put_back(blob_id, key)
            self._bucket.delete(key)

    def _aside(self, blob_id: str) -> str:
        return f"{_TRASH}/{blob_id}/{self._me}"


def _unreadable(artifact_id: str) -> dict[str, str | None]:
    return {"blob_id": None, "error": f"metadata of artifact '{artifact_id}' can't be read: gc stopped"}
