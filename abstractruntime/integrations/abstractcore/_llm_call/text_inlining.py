"""Text attachments become part of the user's message instead of files (`spec/04 §6.7`)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .._attachments.text_types import is_text_type
from .media_files import LoadedArtifact
from .payload import first_given

__all__ = ["inline_limit", "with_inlined_text"]

DEFAULT_MAX_BYTES = 120_000

Messages = list[Any]


def inline_limit(params: dict[str, Any]) -> int:
    """Largest artifact in bytes that is put into a message; 0 allows only empty ones."""
    given = first_given(params, "max_inline_attachment_bytes", "max_inline_text_attachment_bytes")
    try:
        limit = int(given) if given is not None and not isinstance(given, bool) else DEFAULT_MAX_BYTES
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_MAX_BYTES
    return limit if limit >= 0 else DEFAULT_MAX_BYTES


def with_inlined_text(
    messages: Messages | None, artifacts: Sequence[LoadedArtifact], max_bytes: int
) -> tuple[Messages | None, set[str]]:
    """The messages with small text artifacts appended to the last user message that is plain text, and the
    ids of those. Without such a message nothing is inlined. ``messages`` is not changed."""
    target = _last_user_text(messages)
    if messages is None or target is None:
        return messages, set()
    parts: list[str] = []
    inlined: set[str] = set()
    for artifact in artifacts:
        text = _text_of(artifact, max_bytes)
        if text is None:
            continue
        label = _label(artifact)
        parts.append(f"\n\n--- Content from {label} ---\n{text}\n--- End of {label} ---")
        inlined.add(artifact.artifact_id)
    view = list(messages)
    view[target] = {**view[target], "content": view[target]["content"] + "".join(parts)}
    return view, inlined


def _last_user_text(messages: Messages | None) -> int | None:
    for index in reversed(range(len(messages or ()))):
        message = (messages or [])[index]
        is_user = isinstance(message, dict) and message.get("role") == "user"
        if is_user and isinstance(message.get("content"), str):
            return index
    return None


def _text_of(artifact: LoadedArtifact, max_bytes: int) -> str | None:
    """The text itself: no statistics or headings around it, as AbstractCore's media handler would add."""
    if not is_text_type(artifact.content_type) or len(artifact.content) > max_bytes:
        return None
    try:
        return artifact.content.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _label(artifact: LoadedArtifact) -> str:
    name = artifact.item.named("filename")
    path = artifact.item.named("source_path", "path")
    base = re.split(r"[/\\]", path)[-1] if path else None
    return name or base or artifact.tags.get("filename") or artifact.artifact_id
