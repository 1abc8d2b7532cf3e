"""What the model sees of a run's messages; the run's own are never changed (`spec/04 §6.6`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.media_items import MediaItem
from ..flags import boolish
from ..session_attachments import (
    dedup_messages_view,
    list_session_attachments,
    render_active_attachments_system_message,
    render_session_attachments_system_message,
)
from .payload import LlmCall, as_text
from .run_settings import runtime_of

__all__ = ["message_view"]

_INDEX_ENTRIES = 20
_SWITCH = "include_session_attachments_index"
_OWN_HEADINGS = ("Active attachments", "Stored session attachments", "Session attachments")

Messages = list[Any]


def message_view(
    run: RunState, call: LlmCall, messages: Messages | None, media: Sequence[MediaItem], store: Any
) -> Messages | None:
    """The messages with what the model must know of attachments in front, and each file shown once.

    Args:
        messages: already trimmed.
        media: of this call.
        store: of the session's attachments; may be ``None``.
    """
    session = as_text(run.session_id)
    shows_index = store is not None and session is not None and _wants_index(run, call, media)
    has_outputs = any(_is_tool_output(message) for message in messages or ())
    entries: list[dict[str, Any]] = []
    if store is not None and session is not None and (shows_index or has_outputs):
        entries = list_session_attachments(artifact_store=store, session_id=session, limit=_INDEX_ENTRIES)
    notes = []
    if media:
        notes.append(render_active_attachments_system_message([item.raw for item in media]))
    if shows_index and entries:
        notes.append(
            render_session_attachments_system_message(
                entries, include_open_attachment_hint=_offers_open_attachment(call.tools)
            )
        )
    view = _with_notes(messages, [note for note in notes if note])
    return None if view is None else dedup_messages_view(view, session_attachments=entries or None)


def _wants_index(run: RunState, call: LlmCall, media: Sequence[MediaItem]) -> bool:
    control = runtime_of(run).get("control")
    for settings in (call.params, control):
        if isinstance(settings, dict) and settings.get(_SWITCH) is not None:
            return boolish(settings[_SWITCH])
    if media:
        return False
    return True if call.tools else call.include_context


def _with_notes(messages: Messages | None, notes: list[str]) -> Messages | None:
    """Notes of an earlier call, which the caller may have kept, give way to the new ones."""
    if not notes:
        return messages
    kept = [message for message in messages or () if isinstance(message, dict) and not _is_note(message)]
    return [*({"role": "system", "content": note} for note in notes), *kept]


def _is_note(message: dict[str, Any]) -> bool:
    content = message.get("content")
    if message.get("role") != "system" or not isinstance(content, str):
        return False
    return content.strip().startswith(_OWN_HEADINGS)


def _is_tool_output(message: Any) -> bool:
    return isinstance(message, dict) and message.get("role") == "tool"


def _offers_open_attachment(tools: Sequence[Any] | None) -> bool:
    return any(_tool_name(tool) == "open_attachment" for tool in tools or ())


def _tool_name(tool: Any) -> object:
    if not isinstance(tool, dict):
        return None
    function = tool.get("function")
    return tool.get("name") or (function.get("name") if isinstance(function, dict) else None)
