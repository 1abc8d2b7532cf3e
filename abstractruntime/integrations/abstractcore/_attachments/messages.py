"""What a model is told about attachments (`spec/04 §9.2`, §9.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .index import basename, is_absolute, normalised_handle, normalised_sha256, short_name

__all__ = [
    "details",
    "render_active_attachments_system_message",
    "render_session_attachments_system_message",
]

INDEX_TITLE = (
    "Stored session attachments (most recent first; not necessarily active in this call). "
    "Do not mention this list:"
)
OPEN_HINT = (
    "Open text via: open_attachment(artifact_id='…', start_line=..., end_line=...). "
    "Open media via: open_attachment(artifact_id='…')."
)
ACTIVE_TITLE = (
    "Active attachments are already available in this call. Use their content directly; "
    "do not call tools to re-open them. Do not mention this list."
)
TRUNCATED = "- … (truncated)"


def render_session_attachments_system_message(
    entries: Sequence[Mapping[str, Any]],
    *,
    max_entries: int = 20,
    max_chars: int = 4000,
    include_open_attachment_hint: bool = True,
) -> str:
    """The index of a session's attachments as a system message; empty without entries or room.

    Args:
        entries: what `list_session_attachments` gives.
        max_entries: at most so many lines.
        max_chars: never longer than this.
        include_open_attachment_hint: say how to open them.
    """
    lines = [_index_line(entry) for entry in _first(entries, max_entries)]
    head = [INDEX_TITLE, OPEN_HINT] if include_open_attachment_hint else [INDEX_TITLE]
    return _within(head, lines, max_chars)


def render_active_attachments_system_message(
    media: Iterable[Any] | None, *, max_entries: int = 12, max_chars: int = 2000
) -> str:
    """The media of a call as a system message; empty without items or room.

    Args:
        media: paths and artifact references, as in an LLM call's ``media``.
    """
    if isinstance(media, (str, Mapping)) or media is None:
        return ""
    lines = [line for line in map(_active_line, media) if line]
    return _within([ACTIVE_TITLE], lines[: max(0, max_entries)], max_chars)


def details(
    *,
    artifact_id: object = None,
    sha256: object = None,
    content_type: object = None,
    size_bytes: object = None,
    added: object = None,
) -> str:
    """`` (id=…, sha=…, type, n bytes, added …)`` of what is known, or nothing."""
    known = []
    if isinstance(artifact_id, str) and artifact_id:
        known.append(f"id={artifact_id}")
    digits = normalised_sha256(sha256)
    if digits:
        known.append(f"sha={digits[:8]}…")
    if isinstance(content_type, str) and content_type.strip():
        known.append(content_type.strip())
    if isinstance(size_bytes, int) and not isinstance(size_bytes, bool) and size_bytes >= 0:
        known.append(f"{size_bytes:,} bytes")
    if isinstance(added, str) and added.strip():
        known.append(f"added {added.strip()}")
    return f" ({', '.join(known)})" if known else ""


def _index_line(entry: Mapping[str, Any]) -> str:
    name = normalised_handle(entry.get("filename")) or normalised_handle(entry.get("handle"))
    known = details(
        artifact_id=entry.get("artifact_id"),
        sha256=entry.get("sha256"),
        content_type=entry.get("content_type"),
        size_bytes=entry.get("size_bytes"),
        added=entry.get("created_at"),
    )
    return f"- {_one_line(short_name(name)) or 'attachment'}{known}"


def _active_line(item: object) -> str:
    if isinstance(item, str):
        path = normalised_handle(item)
        return f"- {_one_line(basename(path) if is_absolute(path) else path)}" if path else ""
    if not isinstance(item, Mapping):
        return ""
    artifact_id = _text(item.get("$artifact")) or _text(item.get("artifact_id"))
    keys = ("filename", "handle", "source_path", "path")
    name = next((found for found in (normalised_handle(item.get(key)) for key in keys) if found), "")
    shown = short_name(name) or (f"id={artifact_id}" if artifact_id else "attachment")
    known = details(
        artifact_id=artifact_id if name else None,  # else the name says it
        sha256=item.get("sha256"),
        content_type=item.get("content_type"),
        size_bytes=item.get("size_bytes"),
    )
    return f"- {_one_line(shown)}{known}"


def _first(entries: Sequence[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if isinstance(entry, Mapping)][: max(0, most)]


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _one_line(name: str) -> str:
    """A name can't add lines of its own to a system message."""
    return " ".join(name.split())


def _within(head: list[str], lines: list[str], max_chars: int) -> str:
    """Head and as many whole lines as there is room for; nothing if not even the head fits."""
    if not lines:
        return ""
    whole = "\n".join([*head, *lines])
    if len(whole) <= max_chars:
        return whole
    for kept in range(len(lines) - 1, -1, -1):
        cut = "\n".join([*head, *lines[:kept], TRUNCATED])
        if len(cut) <= max_chars:
            return cut
    bare = "\n".join(head)
    return bare if len(bare) <= max_chars else ""
