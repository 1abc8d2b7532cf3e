"""The attachments of a session: artifacts of its owner run (`spec/04 §9.1`)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from abstractruntime.memory.owner_runs import session_owner_run_id
from abstractruntime.storage.artifact_base import ArtifactMetadata, ArtifactStore

__all__ = [
    "Attachment",
    "AttachmentIndex",
    "basename",
    "is_absolute",
    "list_session_attachments",
    "normalised_handle",
    "normalised_sha256",
    "session_memory_owner_run_id",
    "short_name",
]

MAX_TAGS = 8
READ_AGAIN = "read_at"
"""Tag: when a file was found to have this content again, after it had another."""

_SHA256 = re.compile(r"[0-9a-f]{8,64}")


def session_memory_owner_run_id(session_id: str | None) -> str:
    """The run that owns a session's attachments. Gateways compute the same id.

    Raises:
        ValueError: ``session_id is required``.
    """
    return session_owner_run_id(session_id)


def normalised_handle(text: object) -> str:
    """A handle as it is compared: trimmed, without one leading ``@`` and one leading ``./``."""
    handle = text.strip() if isinstance(text, str) else ""
    return handle.removeprefix("@").removeprefix("./")


def normalised_sha256(text: object) -> str | None:
    """8 to 64 hex digits in lower case, with or without ``sha256:`` in front; ``None`` for anything else."""
    digits = text.strip().lower().removeprefix("sha256:") if isinstance(text, str) else ""
    return digits if _SHA256.fullmatch(digits) else None


def is_absolute(handle: str) -> bool:
    """Whether the handle is a path from the root of a machine (POSIX or a Windows drive)."""
    return handle.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[\\/]", handle) is not None


def basename(handle: str) -> str:
    """The last part of a path, whatever its separator."""
    return re.split(r"[\\/]", handle.rstrip("\\/"))[-1]


def short_name(handle: str) -> str:
    """What a model is shown of a handle: never where it lies on somebody's machine."""
    return basename(handle) if is_absolute(handle) else handle


@dataclass(frozen=True, slots=True)
class Attachment:
    """One attachment.

    Attributes:
        artifact_id: its artifact.
        path: the normalised path it was attached under; empty when it has none.
        filename: its name without folders.
        sha256: of its content, as tagged: 8 to 64 hex digits, or ``None``.
        content_type: MIME type, as stored.
        size_bytes: length of the content.
        created_at: ISO time, UTC.
        seen_at: when the file was last known to have this content; decides which version is the newest.
        tags: all its tags.
    """

    artifact_id: str
    path: str
    filename: str
    sha256: str | None
    content_type: str
    size_bytes: int
    created_at: str
    seen_at: str
    tags: dict[str, str]

    @property
    def handle(self) -> str:
        """What it is called: its path, else its file name."""
        return self.path or self.filename

    @classmethod
    def of(cls, metadata: ArtifactMetadata) -> Attachment:
        """Read what the tags say."""
        tags = metadata.tags
        path = normalised_handle(tags.get("path")) or normalised_handle(tags.get("source_path"))
        named = tags.get("filename")
        filename = (named.strip() if isinstance(named, str) else "") or basename(path)
        seen_at = max(metadata.created_at, str(tags.get(READ_AGAIN) or ""))
        sha256 = normalised_sha256(tags.get("sha256"))
        return cls(
            metadata.artifact_id,
            path,
            filename,
            sha256,
            metadata.content_type,
            metadata.size_bytes,
            metadata.created_at,
            seen_at,
            dict(tags),
        )

    def to_dict(self) -> dict[str, Any]:
        """The public form (`spec/04 §9.1`)."""
        shown = [
            (name, value)
            for name, value in sorted(self.tags.items())
            if name != "session_id" and isinstance(value, str) and value.strip()
        ]
        return {
            "handle": self.handle,
            "artifact_id": self.artifact_id,
            "filename": self.filename,
            "sha256": self.sha256,
            "content_type": self.content_type,
            "size_bytes": self.size_bytes,
            "created_at": self.created_at,
            "tags": dict(shown[:MAX_TAGS]),
        }


class AttachmentIndex:
    """The attachments of one session, listed at most once for as long as this object lives.

    Only the owner run's artifacts are looked at, however many others there are (`spec/04 §16.22`). Make one
    for a step and share it; what is registered through it is in it.
    """

    def __init__(self, artifact_store: ArtifactStore, session_id: str | None) -> None:
        self.artifact_store = artifact_store
        self.session_id = session_id.strip() if isinstance(session_id, str) else ""
        self._entries: list[Attachment] | None = None

    @property
    def owner_run_id(self) -> str:
        """Whose artifacts they are. Raises ``ValueError`` without a session."""
        return session_memory_owner_run_id(self.session_id)

    def entries(self) -> list[Attachment]:
        """All of them, newest ``created_at`` first; none without a session."""
        if self._entries is None:
            self._entries = self._list() if self.session_id else []
        return self._entries

    def forget(self) -> None:
        """The attachments have changed: list them again when somebody asks."""
        self._entries = None

    def _list(self) -> list[Attachment]:
        owned = self.artifact_store.list_by_run(self.owner_run_id)
        found = [Attachment.of(metadata) for metadata in owned if metadata.tags.get("kind") == "attachment"]
        return sorted(found, key=lambda each: each.created_at, reverse=True)


def list_session_attachments(
    *, artifact_store: ArtifactStore, session_id: str | None, limit: int = 20
) -> list[dict[str, Any]]:
    """The session's attachments, newest first, at most ``limit``; none without a session.

    Returns:
        dicts with ``handle``, ``artifact_id``, ``filename``, ``sha256`` (or ``None``), ``content_type``,
        ``size_bytes``, ``created_at`` and ``tags`` (at most 8).
    """
    entries = AttachmentIndex(artifact_store, session_id).entries()
    return [entry.to_dict() for entry in entries[: max(0, limit)]]
