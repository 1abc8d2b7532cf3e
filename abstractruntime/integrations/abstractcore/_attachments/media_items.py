"""Media items: what a call may show the model (`spec/04 §6.6`, §6.7)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from abstractruntime.core.models import RunState

from .._llm_call.errors import MediaError
from .._llm_call.payload import as_text
from .._llm_call.run_settings import runtime_of

__all__ = ["PENDING", "MediaItem", "media_item", "pending_items", "requested_items"]

PENDING = "pending_media"
"""Key in ``vars._runtime``: what opened attachments want the next call to see."""


@dataclass(frozen=True, slots=True)
class MediaItem:
    """A local file (``path``) or an artifact (``artifact_id``), one of both; ``raw`` as it was given."""

    raw: Any
    path: str | None = None
    artifact_id: str | None = None

    @property
    def identity(self) -> str:
        """The same for items that show the same."""
        return f"path:{self.path}" if self.artifact_id is None else f"artifact:{self.artifact_id}"

    def named(self, *names: str) -> str | None:
        """The first of these fields of an artifact reference that holds text."""
        if not isinstance(self.raw, dict):
            return None
        return next((text for name in names if (text := as_text(self.raw.get(name)))), None)


def requested_items(media: object, pending: Iterable[MediaItem] = ()) -> list[MediaItem]:
    """The payload's items, then the pending ones it does not have already.

    Anything but a list or tuple is no media; blank strings are ignored.

    Raises:
        MediaError: an item of the payload is neither a path nor an artifact reference.
    """
    found: dict[str, MediaItem] = {}
    for raw in media if isinstance(media, (list, tuple)) else ():
        if isinstance(raw, str) and not raw.strip():
            continue
        item = media_item(raw)
        if item is None:
            raise MediaError(f"Unsupported media item (expected path or artifact ref): {type(raw).__name__}")
        found.setdefault(item.identity, item)
    for item in pending:
        found.setdefault(item.identity, item)
    return list(found.values())


def pending_items(run: RunState) -> list[MediaItem]:
    """What is queued for the next call; items that can't be read are left out."""
    queued = runtime_of(run).get(PENDING)
    items = [media_item(raw) for raw in queued] if isinstance(queued, (list, tuple)) else []
    return [item for item in items if item is not None]


def media_item(raw: object) -> MediaItem | None:
    """The item that a path or an artifact reference stands for; ``None`` for anything else."""
    if isinstance(raw, str):
        path = raw.strip()
        return MediaItem(raw, path=path) if path else None
    if isinstance(raw, dict):
        artifact_id = as_text(raw.get("$artifact")) or as_text(raw.get("artifact_id"))
        return None if artifact_id is None else MediaItem(raw, artifact_id=artifact_id)
    return None
