"""The span index of a run: what it has put aside (`spec/03 §1`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from abstractruntime.core.models import RunState

__all__ = [
    "Message",
    "Span",
    "messages_of",
    "object_at",
    "resolve_span_ids",
    "span_id",
    "spans_of",
    "summaries",
    "summarised_artifact",
]

Span = dict[str, Any]
"""A record of the span index; hosts may write kinds and fields of their own."""

Message = dict[str, Any]
"""``role``, ``content``, and ``timestamp`` and ``metadata`` where known."""


def spans_of(run: RunState) -> list[Span]:
    """Copies of all records, the newest ``created_at`` first."""
    index = object_at(run.vars, "_runtime").get("memory_spans")
    spans = [dict(span) for span in index if isinstance(span, dict)] if isinstance(index, list) else []
    return sorted(spans, key=lambda span: str(span.get("created_at") or ""), reverse=True)


def span_id(span: Span) -> str:
    """The artifact that the record stands for; empty when it names none."""
    artifact_id = span.get("artifact_id")
    return artifact_id.strip() if isinstance(artifact_id, str) else ""


def resolve_span_ids(span_ids: Iterable[object], spans: Sequence[Span]) -> list[str]:
    """Artifact ids for what a model or host wrote: a number counts from 1 in ``spans``, other text is an id.

    Order is kept; repetitions, numbers out of range and anything else are dropped.
    """
    found = (_resolved(item, spans) for item in span_ids)
    return list(dict.fromkeys(artifact_id for artifact_id in found if artifact_id))


def _resolved(item: object, spans: Sequence[Span]) -> str:
    if isinstance(item, bool):  # an int to Python, but nobody means the first span by "true"
        return ""
    text = str(item) if isinstance(item, int) else item
    if not isinstance(text, str):
        return ""
    text = text.strip()
    if not (text.isascii() and text.isdigit()):
        return "" if isinstance(item, int) else text
    number = int(text)
    if 0 < number <= len(spans):
        return span_id(spans[number - 1])
    return text if any(span_id(span) == text for span in spans) else ""  # an id may be all digits


def messages_of(run: RunState) -> list[Message]:
    """The messages of the run's active context; what is no message is left out."""
    messages = object_at(run.vars, "context").get("messages")
    return (
        [message for message in messages if isinstance(message, dict)] if isinstance(messages, list) else []
    )


def summaries(run: RunState) -> dict[str, str]:
    """The summary texts in the active context by the artifact they sum up; later ones win."""
    found: dict[str, str] = {}
    for message in messages_of(run):
        artifact_id = summarised_artifact(message)
        if artifact_id:
            content = message.get("content")
            found[artifact_id] = content if isinstance(content, str) else str(content or "")
    return found


def summarised_artifact(message: Message) -> str:
    """Which artifact the message sums up; empty when it is no summary."""
    metadata = object_at(message, "metadata")
    artifact_id = metadata.get("source_artifact_id")
    if message.get("role") != "system" or metadata.get("kind") != "memory_summary":
        return ""
    return artifact_id.strip() if isinstance(artifact_id, str) else ""


def object_at(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The object under ``key``; an empty one (not stored) when there is none."""
    value = values.get(key)
    return value if isinstance(value, dict) else {}
