"""Artifacts as files a provider can read, for as long as the call lasts (`spec/04 §6.7`)."""

from __future__ import annotations

import logging
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.media_items import MediaItem
from .._attachments.text_types import bare_type
from .errors import MediaError, PolicyError
from .media_access import MayUseArtifact

__all__ = ["LoadedArtifact", "file_name", "load_artifact", "written_file"]

logger = logging.getLogger(__name__)

_MAX_NAME = 220
_ID_DIGITS = 8
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_EXTENSIONS = {".jpe": ".jpg"}


@dataclass(frozen=True, slots=True)
class LoadedArtifact:
    """An artifact's content and what it is; ``content_type`` of the item wins over the stored one."""

    item: MediaItem
    content: bytes
    content_type: str
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def artifact_id(self) -> str:
        return self.item.artifact_id or ""


def load_artifact(item: MediaItem, run: RunState, store: Any, may_use: MayUseArtifact) -> LoadedArtifact:
    """The artifact an item refers to.

    Raises:
        MediaError: no store, no such artifact, or one that can't be read.
        PolicyError: the artifact belongs to somebody else; to the run it is not there.
    """
    artifact_id = item.artifact_id or ""
    if store is None:
        raise MediaError("Artifact-backed media requires an ArtifactStore (missing artifact_store)")
    try:
        artifact = store.load(artifact_id)
    except Exception as exc:
        raise MediaError(f"Failed to materialize artifact '{artifact_id}': {exc}") from exc
    if artifact is None:
        raise MediaError(f"Artifact '{artifact_id}' not found")
    metadata = getattr(artifact, "metadata", None)
    if metadata is not None and not may_use(run, metadata):
        logger.warning("run %s may not use artifact %s of run %s", run.run_id, artifact_id, metadata.run_id)
        raise PolicyError(f"Artifact '{artifact_id}' not found")
    content = getattr(artifact, "content", None)
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise MediaError(f"Artifact '{artifact_id}' content is not bytes")
    stored_type = getattr(metadata, "content_type", None) or getattr(artifact, "content_type", None)
    return LoadedArtifact(
        item,
        bytes(content),
        item.named("content_type") or str(stored_type or ""),
        getattr(metadata, "tags", None) or {},
    )


def written_file(artifact: LoadedArtifact, folder: Path) -> str:
    """The path of a file with the artifact's content in ``folder``.

    Raises:
        MediaError: it can't be written.
    """
    path = folder / file_name(artifact.item, artifact.content_type)
    try:
        path.write_bytes(artifact.content)
    except OSError as exc:
        raise MediaError(f"Failed to materialize artifact '{artifact.artifact_id}': {exc}") from exc
    return str(path)


def file_name(item: MediaItem, content_type: str) -> str:
    """A name that says what the file is, safe on every file system, different for different artifacts.

    Example: source path ``a/b/Values.md`` and id ``0123456789…`` give ``Values__01234567.md``.
    """
    artifact_id = item.artifact_id or ""
    given = item.named("source_path", "path", "filename", "name") or artifact_id
    name = re.split(r"[/\\]", given)[-1]
    if not name.strip("."):
        name = artifact_id
    stem, dot, extension = name.rpartition(".")
    if not dot or not stem:
        stem, suffix = name, _guessed_extension(content_type)
    else:
        suffix = f".{extension}"
    tail = _UNSAFE.sub("_", f"__{artifact_id[:_ID_DIGITS]}{suffix}")[-_MAX_NAME:]
    return _UNSAFE.sub("_", stem)[: _MAX_NAME - len(tail)] + tail


def _guessed_extension(content_type: str) -> str:
    guessed = mimetypes.guess_extension(bare_type(content_type)) or ""
    return _EXTENSIONS.get(guessed, guessed)
