"""What a provider object returned, as the one result dict of this package (`spec/04 §3`, §4.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..json_values import json_value
from .tool_call_shapes import normalise_tool_calls

__all__ = ["field_of", "metadata_of", "reasoning_in_metadata", "result_of", "text_or_none"]

_REASONING_KEYS = ("reasoning", "reasoning_content", "thinking", "thinking_content")


def result_of(response: Any) -> dict[str, Any]:
    """The JSON-like result of one whole answer."""
    if isinstance(response, dict):
        return _enriched(json_value(response))
    if isinstance(response, str):
        return {**_structured(None), "content": response}
    for method in ("model_dump", "dict"):
        convert = getattr(response, method, None)
        if callable(convert):
            return _structured(json_value(convert()))
    return _of_response_object(response)


def field_of(value: Any, name: str) -> Any:
    """``name`` of a dict or an object, ``None`` if it has none."""
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def metadata_of(value: Any) -> dict[str, Any]:
    """The metadata as a JSON-like dict of its own; ``{}`` if there is none."""
    metadata = field_of(value, "metadata")
    converted = json_value(metadata) if isinstance(metadata, dict) else {}
    return converted if isinstance(converted, dict) else {}


def reasoning_in_metadata(metadata: dict[str, Any]) -> str | None:
    """The complete reasoning as AbstractCore reports it."""
    return text_or_none(metadata.get("reasoning"))


def text_or_none(value: Any) -> str | None:
    """The trimmed text, ``None`` if it is blank or no text."""
    return (value.strip() or None) if isinstance(value, str) else None


def reasoning_in_payload(raw: Any) -> str | None:
    """The reasoning in an OpenAI-like body: ``choices[].message``, ``choices[].delta``, ``message``."""
    for message in _messages(raw):
        for key in _REASONING_KEYS:
            found = text_or_none(message.get(key))
            if found is not None:
                return found
    return None


def _messages(raw: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(raw, dict):
        return
    choices = raw.get("choices")
    rows = [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []
    candidates = [row.get(part) for part in ("message", "delta") for row in rows]
    yield from (entry for entry in [*candidates, raw.get("message")] if isinstance(entry, dict))


def _of_response_object(response: Any) -> dict[str, Any]:
    metadata = metadata_of(response)
    raw = json_value(field_of(response, "raw_response"))
    return {
        "content": json_value(field_of(response, "content")),
        "reasoning": reasoning_in_metadata(metadata) or reasoning_in_payload(raw),
        "data": None,
        "raw_response": raw,
        "tool_calls": normalise_tool_calls(field_of(response, "tool_calls")),
        "usage": json_value(field_of(response, "usage")),
        "model": json_value(field_of(response, "model")),
        "finish_reason": json_value(field_of(response, "finish_reason")),
        "metadata": metadata,
        "trace_id": text_or_none(metadata.get("trace_id")),
        "gen_time": json_value(field_of(response, "gen_time")),
    }


def _structured(data: Any) -> dict[str, Any]:
    return {
        "content": None,
        "data": data,
        "tool_calls": None,
        "usage": None,
        "model": None,
        "finish_reason": None,
        "metadata": {},
        "trace_id": None,
    }


def _enriched(result: dict[str, Any]) -> dict[str, Any]:
    """A dict is taken as it is; what its metadata know better is added."""
    metadata = result.get("metadata")
    known = metadata if isinstance(metadata, dict) else {}
    found = {
        "trace_id": text_or_none(known.get("trace_id")),
        "reasoning": reasoning_in_metadata(known) or reasoning_in_payload(result.get("raw_response")),
    }
    for name, value in found.items():
        if value is not None and not result.get(name):
            result[name] = value
    if result.get("tool_calls"):
        result["tool_calls"] = normalise_tool_calls(result["tool_calls"])
    return result
