"""What is written down of an observation: the record, its entry in the index, its tags (`spec/03 §15.2`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from abstractruntime.core.models import RunState

from .pairing import Observation, text_of

__all__ = ["evidence_record", "index_entry", "tags_of"]

MAX_TAG = 200
MAX_PREVIEW = 160

_COPIED: dict[str, tuple[str, ...]] = {
    "fetch_url": ("final_url", "content_type", "size_bytes"),
    "execute_command": ("return_code", "duration_s", "working_directory", "platform"),
}
_SUBJECT = {"fetch_url": "url", "execute_command": "command", "web_search": "query"}


def evidence_record(
    seen: Observation, run: RunState, node_id: str, artifacts: Mapping[str, str], now: str
) -> dict[str, Any]:
    """The payload of the evidence artifact.

    Args:
        artifacts: artifact id by name of the part.
    """
    record: dict[str, Any] = {
        "tool_name": seen.tool_name,
        "call_id": seen.call_id,
        "node_id": node_id,
        "run_id": run.run_id,
        "workflow_id": run.workflow_id,
        "created_at": now,
        "success": seen.result.get("success") is True,
        "error": text_of(seen.result.get("error")) or None,
        "arguments": seen.arguments,
    }
    if run.actor_id:
        record["actor_id"] = run.actor_id
    if run.session_id:
        record["session_id"] = run.session_id
    subject = _subject(seen)
    if subject:
        record[_SUBJECT[seen.tool_name]] = subject
    output = seen.result.get("output")
    if isinstance(output, dict):
        record.update((key, output.get(key)) for key in _COPIED.get(seen.tool_name, ()))
    if artifacts:
        record["artifacts"] = {name: {"$artifact": artifact_id} for name, artifact_id in artifacts.items()}
    return record


def index_entry(record: Mapping[str, Any], evidence_id: str) -> dict[str, Any]:
    """The evidence in the run's span index."""
    now = record["created_at"]
    entry = {
        "kind": "evidence",
        "artifact_id": evidence_id,
        "evidence_id": evidence_id,  # under the name that readers look for
        "created_at": now,
        "from_timestamp": now,
        "to_timestamp": now,
        "message_count": 0,
        "tool_name": record["tool_name"],
        "call_id": record["call_id"],
        "success": record["success"],
    }
    for key, shown in (("url", "url"), ("query", "query"), ("command", "command_preview")):
        value = text_of(record.get(key))
        if value and _SUBJECT.get(record["tool_name"]) == key:
            entry[shown] = cut(value, MAX_PREVIEW) if key == "command" else value
    return entry


def tags_of(record: Mapping[str, Any]) -> dict[str, str]:
    """Tags of the evidence artifact and of its parts."""
    tags = {"kind": "evidence", "tool": str(record["tool_name"])}
    key = _SUBJECT.get(str(record["tool_name"]))
    value = text_of(record.get(key)) if key else ""
    if key and value:
        tags[key] = value[:MAX_TAG] if key == "url" else cut(value, MAX_TAG)
    return tags


def cut(text: str, most: int) -> str:
    """At most ``most`` characters; what was longer ends with ``…``."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _subject(seen: Observation) -> str:
    """What the tool was asked about: as it says itself, else as it was told."""
    key = _SUBJECT.get(seen.tool_name)
    if key is None:
        return ""
    output = seen.result.get("output")
    said = text_of(output.get(key)) if isinstance(output, dict) else ""
    return said or text_of(seen.arguments.get(key))
