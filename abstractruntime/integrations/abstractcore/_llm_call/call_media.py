"""The media of one call: looked up, put into the text or into files (`spec/04 §6.7`)."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.media_items import MediaItem
from .media_access import MayUseArtifact, allowed_path
from .media_files import LoadedArtifact, load_artifact, written_file
from .text_inlining import with_inlined_text

__all__ = ["CallMedia", "LoadedMedia", "load_media", "place_media"]


@dataclass(frozen=True, slots=True)
class LoadedMedia:
    """Items that may be sent, in order: artifacts loaded, paths checked."""

    items: Sequence[LoadedArtifact | tuple[MediaItem, str]]

    @property
    def artifacts(self) -> list[LoadedArtifact]:
        return [item for item in self.items if isinstance(item, LoadedArtifact)]


@dataclass(frozen=True, slots=True)
class CallMedia:
    """What a client gets.

    Attributes:
        messages: with text attachments in the last user message.
        paths: of the files that remain, ``None`` for none.
        refs: the same items as they were given: what may be recorded, since the files do not last.
    """

    messages: list[Any] | None
    paths: list[str] | None
    refs: list[Any] | None


def load_media(items: Sequence[MediaItem], run: RunState, store: Any, may_use: MayUseArtifact) -> LoadedMedia:
    """Look all items up before anything is sent.

    Raises:
        MediaError, PolicyError: an item can't be used, or may not be.
    """
    return LoadedMedia(
        [
            (item, allowed_path(run, item.path))
            if item.path is not None
            else load_artifact(item, run, store, may_use)
            for item in items
        ]
    )


def place_media(
    media: LoadedMedia, messages: list[Any] | None, max_inline_bytes: int, life: ExitStack
) -> CallMedia:
    """Small texts go into the messages, other artifacts into files that exist until ``life`` is closed.

    Raises:
        MediaError: a file can't be written.
    """
    messages, inlined = with_inlined_text(messages, media.artifacts, max_inline_bytes)
    folder: Path | None = None
    paths: list[str] = []
    refs: list[Any] = []
    for found in media.items:
        if isinstance(found, LoadedArtifact):
            if found.artifact_id in inlined:
                continue
            if folder is None:
                prefix = "abstractruntime-media-"
                folder = Path(life.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
            paths.append(written_file(found, folder))
            refs.append(found.item.raw)
        else:
            paths.append(found[1])
            refs.append(found[0].raw)
    return CallMedia(messages, paths or None, refs or None)
