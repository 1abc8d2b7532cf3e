"""What was sent to a provider object, kept in the result's metadata (`spec/04 §4.2`)."""

from __future__ import annotations

import logging
from typing import Any

from ..json_values import json_value

__all__ = ["capture_request"]

logger = logging.getLogger(__name__)

_KEY = "_provider_request"


def capture_request(result: dict[str, Any], *, provider: str, model: str, request: dict[str, Any]) -> None:
    """Add ``metadata._provider_request`` to ``result`` unless the provider has said itself what it sent.

    ``request`` holds the keywords of the provider's ``generate``. Never fails the call.
    """
    try:
        metadata = result.get("metadata")
        if not isinstance(metadata, dict):
            metadata = result["metadata"] = {}
        if _KEY not in metadata:
            metadata[_KEY] = {
                "transport": "local",
                "provider": provider,
                "model": model,
                "payload": _payload(model, request),
            }
    except Exception:
        logger.warning("the request to %s/%s could not be captured", provider, model, exc_info=True)


def _payload(model: str, request: dict[str, Any]) -> dict[str, Any]:
    known = {"prompt", "messages", "system_prompt", "tools", "media", "stream"}
    payload = {
        "model": model,
        "messages": json_value(_messages(request)),
        "stream": bool(request.get("stream")),
        "params": {name: _param(value) for name, value in request.items() if name not in known},
    }
    if request.get("tools") is not None:
        payload["tools"] = json_value(request["tools"])
    return payload


def _messages(request: dict[str, Any]) -> list[Any]:
    """System prompt, messages, prompt: the order in which the provider sends them."""
    messages = list(request.get("messages") or [])
    system_prompt, prompt = request.get("system_prompt"), request.get("prompt")
    if prompt and _last_user_content(messages) != prompt:
        messages.append({"role": "user", "content": prompt})
    if system_prompt:
        messages.insert(0, {"role": "system", "content": system_prompt})
    return messages


def _last_user_content(messages: list[Any]) -> Any:
    users = [entry for entry in messages if isinstance(entry, dict) and entry.get("role") == "user"]
    return users[-1].get("content") if users else None


def _param(value: Any) -> Any:
    """A structured-output model is recorded as its schema; its class alone says nothing."""
    schema = getattr(value, "model_json_schema", None)
    if isinstance(value, type) and callable(schema):
        return {"name": value.__name__, "schema": json_value(schema())}
    return json_value(value)
