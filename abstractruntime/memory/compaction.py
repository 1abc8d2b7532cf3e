"""Taking a conversation apart before its older part is summed up and put aside (`spec/03 §3`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from abstractruntime.core.errors import InvalidInputError

from .spans import Message, object_at

__all__ = ["CompactionSplit", "normalize_messages", "span_metadata_from_messages", "split_for_compaction"]


@dataclass(frozen=True)
class CompactionSplit:
    """A conversation in three parts, each in its order."""

    system_messages: list[Message]
    older_messages: list[Message]
    recent_messages: list[Message]

    @property
    def non_system_count(self) -> int:
        """Messages that are not the system's."""
        return len(self.older_messages) + len(self.recent_messages)


def normalize_messages(messages: Iterable[Any] | None, *, now_iso: Callable[[], str]) -> list[Message]:
    """Copies with role, content, timestamp and an id in ``metadata.message_id``; what is no dict is dropped.

    Args:
        messages: left as they are.
        now_iso: the time of messages that have none.
    """
    return [_normal(message, now_iso) for message in messages or () if isinstance(message, dict)]


def _normal(message: Message, now_iso: Callable[[], str]) -> Message:
    role, content, timestamp = message.get("role"), message.get("content"), message.get("timestamp")
    metadata = dict(object_at(message, "metadata"))
    message_id = metadata.get("message_id")
    if not isinstance(message_id, str) or not message_id:
        metadata["message_id"] = f"msg_{uuid4().hex}"
    return {
        **message,
        "role": str(role) if role else "user",
        "content": "" if content is None else str(content),
        "timestamp": timestamp if isinstance(timestamp, str) and timestamp.strip() else now_iso(),
        "metadata": metadata,
    }


def split_for_compaction(messages: Sequence[Message], *, preserve_recent: int) -> CompactionSplit:
    """System messages, the last ``preserve_recent`` others (0 for a negative number), and the older ones."""
    system = [message for message in messages if message.get("role") == "system"]
    others = [message for message in messages if message.get("role") != "system"]
    cut = max(0, len(others) - max(0, preserve_recent))
    return CompactionSplit(system, others[:cut], others[cut:])


def span_metadata_from_messages(messages: Sequence[Message]) -> dict[str, Any]:
    """From when to when and from which to which id the messages reach, and how many they are.

    Raises:
        InvalidInputError: (a ``ValueError``) there are none.
    """
    if not messages:
        raise InvalidInputError("messages must not be empty: a span has a first and a last message")
    first, last = messages[0], messages[-1]
    return {
        "from_timestamp": first.get("timestamp"),
        "to_timestamp": last.get("timestamp"),
        "from_message_id": object_at(first, "metadata").get("message_id"),
        "to_message_id": object_at(last, "metadata").get("message_id"),
        "message_count": len(messages),
    }
