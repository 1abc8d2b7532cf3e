"""Bringing archived messages back into the active context (`spec/03 §2.3`)."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from abstractruntime.core.models import RunState

from .llm_view import whole_number
from .span_artifacts import SpanArtifacts
from .spans import Message, messages_of, object_at, resolve_span_ids, spans_of, summarised_artifact

__all__ = ["rehydrate"]

logger = logging.getLogger(__name__)

NOTE_MARK = "[MEMORY NOTE]"
_PREVIEW_MESSAGES = 3
_PREVIEW_CHARS = 360
_CUT = "… (truncated)"


def rehydrate(
    run: RunState,
    artifacts: SpanArtifacts,
    *,
    span_ids: Iterable[object],
    placement: str,
    dedup_by: str,
    max_messages: object,
) -> dict[str, Any]:
    """Insert the messages of these spans into the run's context; see `ActiveContextPolicy`."""
    wanted = resolve_span_ids(
        [span_ids] if isinstance(span_ids, (str, int)) else span_ids or (), spans_of(run)
    )
    if not wanted:
        return {"inserted": 0, "skipped": 0, "artifacts": []}
    work = _Rehydration(messages_of(run), artifacts, placement, dedup_by == "message_id", _cap(max_messages))
    entries = [work.add(artifact_id) for artifact_id in wanted]
    context = run.vars.get("context")
    if not isinstance(context, dict):
        context = run.vars["context"] = {}
    context["messages"] = work.messages
    if isinstance(run.output, dict):
        run.output["messages"] = deepcopy(work.messages)
    return {
        "inserted": sum(entry["inserted"] for entry in entries),
        "skipped": sum(entry["skipped"] for entry in entries),
        "artifacts": entries,
    }


def _cap(max_messages: object) -> int | None:
    cap = whole_number(max_messages, -1)
    return None if cap < 0 else cap


class _Rehydration:
    """The context while messages are put into it."""

    def __init__(
        self, messages: list[Message], artifacts: SpanArtifacts, placement: str, dedup: bool, cap: int | None
    ) -> None:
        self.messages = messages
        self._artifacts = artifacts
        self._placement = placement
        self._known = {_message_id(message) for message in messages} if dedup else None
        self._room = cap

    def add(self, artifact_id: str) -> dict[str, Any]:
        """Insert what the artifact holds; the entry of the result."""
        entry: dict[str, Any] = {"artifact_id": artifact_id, "inserted": 0, "skipped": 0}
        if self._room == 0:
            return {**entry, "error": "max_messages"}
        archived = _archived(self._artifacts, artifact_id)
        if archived is None:
            return {**entry, "error": "missing_messages"}
        fresh = [message for message in archived if self._is_new(message)]
        entry["skipped"] = len(archived) - len(fresh)
        if self._room is not None:
            fresh = fresh[: self._room]
            self._room -= len(fresh)
        if self._known is not None:
            self._known.update(map(_message_id, fresh))
        at = self._position(artifact_id)
        self.messages[at:at] = fresh
        entry["inserted"] = len(fresh)
        preview = _preview(fresh)
        return {**entry, "preview": preview} if preview else entry

    def _is_new(self, message: Message) -> bool:
        message_id = _message_id(message)
        return self._known is None or not message_id or message_id not in self._known

    def _position(self, artifact_id: str) -> int:
        if self._placement == "end":
            return len(self.messages)
        if self._placement != "after_system":
            for at, message in enumerate(self.messages):
                if summarised_artifact(message) == artifact_id:
                    return at + 1
        roles = [message.get("role") for message in self.messages]
        return next((at for at, role in enumerate(roles) if role != "system"), len(roles))


def _archived(artifacts: SpanArtifacts, artifact_id: str) -> list[Message] | None:
    """The messages that the artifact holds, marked as archived ones; ``None`` when it holds none."""
    try:
        payload = artifacts.load_json(artifact_id)
    except ValueError:  # an id that no store accepts, damaged content: one span must not cost the others
        logger.warning("span %s could not be read", artifact_id, exc_info=True)
        return None
    if not isinstance(payload, dict):
        return None
    messages, note = payload.get("messages"), payload.get("note")
    if isinstance(messages, list):
        return [_marked(message, artifact_id) for message in messages if isinstance(message, dict)]
    if isinstance(note, str) and note.strip():
        return [_note(note, payload.get("created_at"), artifact_id)]
    return None


def _marked(message: Message, artifact_id: str) -> Message:
    copied = deepcopy(message)
    metadata = object_at(copied, "metadata")
    copied["metadata"] = {**metadata, "rehydrated": True}
    copied["metadata"].setdefault("source_artifact_id", artifact_id)
    return copied


def _note(note: str, created_at: object, artifact_id: str) -> Message:
    return {
        "role": "system",
        "content": f"{NOTE_MARK}\n{note.strip()}",
        "timestamp": created_at if isinstance(created_at, str) else "",
        "metadata": {
            "kind": "memory_note",
            "rehydrated": True,
            "source_artifact_id": artifact_id,
            "message_id": f"memory_note:{artifact_id}",
        },
    }


def _message_id(message: Message) -> str:
    message_id = object_at(message, "metadata").get("message_id")
    return message_id if isinstance(message_id, str) else ""


def _preview(inserted: list[Message]) -> str:
    lines = [_preview_line(message) for message in inserted[:_PREVIEW_MESSAGES]]
    text = "\n".join(line for line in lines if line)
    return text if len(text) <= _PREVIEW_CHARS else text[: _PREVIEW_CHARS - len(_CUT)] + _CUT


def _preview_line(message: Message) -> str:
    content = str(message.get("content") or "").strip()
    if not content or content.startswith(NOTE_MARK):
        return content
    return f"{message.get('role') or 'unknown'}: {content}"
