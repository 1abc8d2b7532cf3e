"""What artifacts are and what every store of them does (`spec/02 §10.1`, §10.4)."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from abstractruntime.core.errors import RuntimeFault
from abstractruntime.core.models import utc_now_iso

from .artifact_ids import (
    compute_artifact_id,
    compute_blob_id,
    get_artifact_id,
    is_artifact_ref,
    validate_artifact_id,
)

__all__ = [
    "DEFAULT_TYPE",
    "Artifact",
    "ArtifactMetadata",
    "ArtifactStore",
    "CorruptArtifactError",
    "as_bytes",
    "merged",
    "metadata_of",
    "newest_first",
    "resolve_artifact",
]


class _Unsaid(str):
    """A text that can be told from an equal one by its identity."""

    __slots__ = ()


_BYTES = "application/octet-stream"

DEFAULT_TYPE: Final[str] = _Unsaid(_BYTES)
"""The default of ``content_type``: *this* object means that the caller said none, an equal text that the
content really is of this type. `ArtifactMetadata` holds plain text."""


class CorruptArtifactError(RuntimeFault, ValueError):
    """A stored artifact is damaged; the message names it and what is wrong with it."""


@dataclass
class ArtifactMetadata:
    """What is known of an artifact without its content.

    Attributes:
        artifact_id: its id, unique in the store.
        content_type: MIME type.
        size_bytes: length of the content.
        created_at: ISO time, UTC.
        blob_id: SHA-256 of the content; ``None`` in files of old layouts.
        run_id: the run it belongs to, if any.
        tags: free text by name.
    """

    artifact_id: str
    content_type: str
    size_bytes: int
    created_at: str
    blob_id: str | None = None
    run_id: str | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "artifact_id": self.artifact_id,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "created_at": self.created_at,
            "blob_id": self.blob_id,
            "run_id": self.run_id,
            "tags": dict(self.tags),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArtifactMetadata:
        """Read the stored form.

        Raises:
            KeyError: ``artifact_id``, ``content_type``, ``size_bytes`` or ``created_at`` is missing.
        """
        return cls(
            artifact_id=data["artifact_id"],
            content_type=data["content_type"],
            size_bytes=data["size_bytes"],
            created_at=data["created_at"],
            blob_id=data.get("blob_id"),
            run_id=data.get("run_id"),
            tags=dict(data.get("tags") or {}),
        )


@dataclass
class Artifact:
    """An artifact with its content."""

    metadata: ArtifactMetadata
    content: bytes

    @property
    def artifact_id(self) -> str:
        """The id."""
        return self.metadata.artifact_id

    @property
    def content_type(self) -> str:
        """The MIME type."""
        return self.metadata.content_type

    def as_text(self, encoding: str = "utf-8") -> str:
        """The content as text."""
        return self.content.decode(encoding)

    def as_json(self) -> Any:
        """The content as JSON in UTF-8."""
        return json.loads(self.content.decode())


class ArtifactStore(ABC):
    """Where payloads live that are too large or too binary for a checkpoint.

    All methods that take an id raise `InvalidInputError` (a ``ValueError``) for one that
    `validate_artifact_id` refuses. An id is no permission: whoever serves artifacts to others must check that
    the artifact's run is theirs.
    """

    @abstractmethod
    def store(
        self,
        content: bytes,
        *,
        content_type: str = DEFAULT_TYPE,
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
        artifact_id: str | None = None,
    ) -> ArtifactMetadata:
        """Keep the content.

        Without an explicit id it comes from content and run, so the same bytes in the same run are one
        artifact: it gets the new ``created_at``, the new tags beside the old ones (D-11), and the new
        type if one is said. An explicit id replaces what it named before.

        Raises:
            TypeError: ``content`` is not bytes-like.
        """

    @abstractmethod
    def load(self, artifact_id: str) -> Artifact | None:
        """The artifact, or ``None`` when it is unknown."""

    @abstractmethod
    def get_metadata(self, artifact_id: str) -> ArtifactMetadata | None:
        """What is known of it, without reading the content."""

    @abstractmethod
    def exists(self, artifact_id: str) -> bool:
        """Whether it can be loaded."""

    @abstractmethod
    def delete(self, artifact_id: str) -> bool:
        """Remove it; ``False`` when it is unknown."""

    @abstractmethod
    def list_by_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The artifacts of exactly this run."""

    @abstractmethod
    def list_all(self, *, limit: int = 1000) -> list[ArtifactMetadata]:
        """Newest ``created_at`` first, at most ``limit``."""

    def delete_by_run(self, run_id: str) -> int:
        """Remove the run's artifacts; how many there were."""
        return sum(self.delete(metadata.artifact_id) for metadata in self.list_by_run(run_id))

    def search(
        self,
        *,
        run_id: str | None = None,
        content_type: str | None = None,
        tags: dict[str, str] | None = None,
        limit: int = 1000,
    ) -> list[ArtifactMetadata]:
        """Artifacts that match all filters exactly (every given tag), newest first, at most ``limit``."""
        candidates = self.list_by_run(run_id) if run_id else self.list_all(limit=sys.maxsize)
        wanted = (tags or {}).items()
        found = [
            metadata
            for metadata in candidates
            if (not content_type or metadata.content_type == content_type)
            and all(metadata.tags.get(name) == value for name, value in wanted)
        ]
        return newest_first(found, limit)

    def store_text(
        self,
        text: str,
        *,
        content_type: str = "text/plain",
        encoding: str = "utf-8",
        run_id: str | None = None,
        tags: dict[str, str] | None = None,
    ) -> ArtifactMetadata:
        """Keep text."""
        return self.store(text.encode(encoding), content_type=content_type, run_id=run_id, tags=tags)

    def store_json(
        self, data: Any, *, run_id: str | None = None, tags: dict[str, str] | None = None
    ) -> ArtifactMetadata:
        """Keep data as compact JSON.

        Raises:
            TypeError: it has no JSON form.
        """
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        return self.store(text.encode(), content_type="application/json", run_id=run_id, tags=tags)

    def load_text(self, artifact_id: str, encoding: str = "utf-8") -> str | None:
        """The artifact as text, or ``None`` when it is unknown."""
        artifact = self.load(artifact_id)
        return None if artifact is None else artifact.as_text(encoding)

    def load_json(self, artifact_id: str) -> Any:
        """The artifact as JSON, or ``None`` when it is unknown.

        Raises:
            json.JSONDecodeError: it is not JSON.
        """
        artifact = self.load(artifact_id)
        return None if artifact is None else artifact.as_json()


def resolve_artifact(ref: Any, store: ArtifactStore) -> Artifact | None:
    """The artifact that ``ref`` stands for; ``None`` when it is no reference or nothing is there."""
    return store.load(get_artifact_id(ref)) if is_artifact_ref(ref) else None


def as_bytes(content: bytes) -> bytes:
    """The content as bytes of its own.

    Raises:
        TypeError: it is not bytes-like (text has to be encoded first).
    """
    return bytes(memoryview(content))


def newest_first(found: Iterable[ArtifactMetadata], limit: int) -> list[ArtifactMetadata]:
    """By ``created_at`` descending, at most ``limit``; none for 0 and less."""
    return sorted(found, key=lambda metadata: metadata.created_at, reverse=True)[: max(0, limit)]


def metadata_of(
    content: bytes,
    *,
    content_type: str,
    run_id: str | None,
    tags: Mapping[str, str] | None,
    artifact_id: str | None,
) -> ArtifactMetadata:
    """What is known of a content that is stored now with these arguments of `ArtifactStore.store`.

    Raises:
        InvalidInputError: `validate_artifact_id` refuses the id.
    """
    own_id = compute_artifact_id(content, run_id=run_id) if artifact_id is None else artifact_id
    validate_artifact_id(own_id)
    return ArtifactMetadata(
        own_id,
        _BYTES if content_type is DEFAULT_TYPE else content_type,
        len(content),
        utc_now_iso(),
        compute_blob_id(content),
        run_id,
        dict(tags or {}),
    )


def merged(earlier: ArtifactMetadata, later: ArtifactMetadata, said_type: str) -> ArtifactMetadata:
    """The same content stored again under the id computed from it: the newer call counts, and what only the
    earlier one said is kept.

    Args:
        said_type: ``content_type`` as the newer call got it.
    """
    return replace(
        later,
        content_type=earlier.content_type if said_type is DEFAULT_TYPE else later.content_type,
        tags={**earlier.tags, **later.tags},
    )
