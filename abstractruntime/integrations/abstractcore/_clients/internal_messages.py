"""Messages that are for the runtime's own use and not for a provider (`spec/04 §4.1`)."""

from __future__ import annotations

from typing import Any

__all__ = ["without_internal_messages"]

_INTERNAL = "Recent tool activity"


def without_internal_messages(messages: Any) -> list[dict[str, Any]] | None:
    """Messages without the runtime's own system messages and without entries that are no dicts; ``None`` if
    nothing is left."""
    if not isinstance(messages, list):
        return None
    kept = [entry for entry in messages if isinstance(entry, dict) and not _is_internal(entry)]
    return kept or None


def _is_internal(message: dict[str, Any]) -> bool:
    content = message.get("content")
    return (
        message.get("role") == "system"
        and isinstance(content, str)
        and content.lstrip().startswith(_INTERNAL)
    )
