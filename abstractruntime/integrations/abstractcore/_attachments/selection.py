"""Which attachment of a session somebody means (`spec/04 §9.5`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .index import Attachment, basename, is_absolute, normalised_handle

__all__ = ["MAX_NAMED", "as_candidate", "distinct_files", "matching", "similar"]

MAX_NAMED = 5
"""How many candidates or suggestions are named."""


def matching(
    attachments: Sequence[Attachment], artifact_id: str, handle: str, sha256: str | None
) -> list[Attachment]:
    """Those that id, or else handle, and hash leave, newest first.

    Args:
        artifact_id: an unknown one is taken for a handle unless there is a handle.
        sha256: the content's hash or its first 8 digits and more; ``None`` = any.
    """
    found = [each for each in attachments if artifact_id and each.artifact_id == artifact_id]
    if not found:
        wanted = normalised_handle(handle or artifact_id)
        found = [each for each in attachments if wanted and _is_called(each, wanted)]
    if sha256 is not None:
        found = [each for each in found if each.sha256 is not None and _is_hash(each.sha256, sha256)]
    return sorted(found, key=lambda each: each.seen_at, reverse=True)


def distinct_files(found: Iterable[Attachment]) -> list[Attachment]:
    """The newest version of each file (``found`` has it first). Without a path each is a file of its own."""
    files: dict[str, Attachment] = {}
    for each in found:
        files.setdefault(f"path:{each.path}" if each.path else f"id:{each.artifact_id}", each)
    return list(files.values())


def similar(attachments: Sequence[Attachment], handle: str) -> list[Attachment]:
    """What may have been meant: of the same name, then of a name like it, then in a path with that name."""
    name = basename(normalised_handle(handle)).lower()
    stem = name.rsplit(".", 1)[0] or name
    if not stem:
        return []
    ranked = [(rank, each) for each in attachments if (rank := _likeness(each, name, stem)) is not None]
    best = [each for _, each in sorted(ranked, key=lambda pair: pair[0])]
    return distinct_files(best)[:MAX_NAMED]


def as_candidate(attachment: Attachment) -> dict[str, Any]:
    """How candidates and suggestions are named."""
    return {
        "handle": attachment.handle,
        "artifact_id": attachment.artifact_id,
        "sha256": attachment.sha256,
    }


def _is_called(attachment: Attachment, handle: str) -> bool:
    return any(_is_same_path(own, handle) for own in (attachment.path, attachment.filename) if own)


def _is_same_path(own: str, handle: str) -> bool:
    """Equal, or one of them is absolute and ends with the other at a ``/``."""
    if own == handle:
        return True
    if is_absolute(handle) and not is_absolute(own):
        return handle.endswith("/" + own)
    return is_absolute(own) and not is_absolute(handle) and own.endswith("/" + handle)


def _is_hash(own: str, wanted: str) -> bool:
    """One may be a shortened form of the other."""
    return own.startswith(wanted) or wanted.startswith(own)


def _likeness(attachment: Attachment, name: str, stem: str) -> int | None:
    own = (attachment.filename or basename(attachment.path)).lower()
    own_stem = own.rsplit(".", 1)[0] or own
    if own == name:
        return 0
    if own_stem and (stem in own_stem or own_stem in stem):
        return 1
    return 2 if stem in attachment.path.lower() else None
