"""What a completed call changes in the run's variables: turns of the active context, and media that were
waiting for it (`spec/04 §6.6`, §6.11).

Everything is derived from the recorded result, and done once per idempotency key: a process that dies between
ledger and checkpoint finds the result again and makes the same changes (`spec/04 §16.3`, §16.4).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.media_items import PENDING, MediaItem, requested_items
from .payload import as_text, read_llm_call
from .run_settings import runtime_of

__all__ = ["CONSUMED", "apply_llm_result", "consumed_marks"]

CONSUMED = "_consumed_media"
"""In the result's metadata: which pending media the call has shown to the model."""

APPLIED = "applied_llm_calls"
"""In ``vars._runtime``: the beginnings of keys whose results have been applied, one per turn."""

_KEY_DIGITS = 16


def consumed_marks(pending: list[MediaItem]) -> list[str]:
    """How a result names the pending media it consumed."""
    return [item.identity for item in pending]


def apply_llm_result(
    run: RunState, payload: object, result: dict[str, Any] | None, key: str | None = None
) -> None:
    """Change the run's variables as ``result`` says.

    Args:
        key: the step's idempotency key; a second time with the same one nothing happens. ``None`` when the
            handler is called by hand.
    """
    if not isinstance(result, dict):
        return
    call = read_llm_call(payload)
    consumed = (result.get("metadata") or {}).get(CONSUMED)
    if not call.include_context and not consumed:
        return
    if key is not None and not _is_first(run, key):
        return
    if isinstance(consumed, list):
        _consume(run, consumed)
    if call.include_context:
        turns = [
            ("user", _user_text(call.prompt, call.messages, result)),
            ("assistant", _assistant_text(result)),
        ]
        _append(run, [(role, text) for role, text in turns if text])


def _is_first(run: RunState, key: str) -> bool:
    runtime = _own(run.vars, "_runtime")
    applied = runtime.get(APPLIED)
    if not isinstance(applied, list):
        applied = runtime[APPLIED] = []
    short = key[:_KEY_DIGITS]
    if short in applied:
        return False
    applied.append(short)
    return True


def _consume(run: RunState, consumed: list[Any]) -> None:
    """Take out what was shown, and what nobody can show; media queued since then stay."""
    queued = runtime_of(run).get(PENDING)
    if not isinstance(queued, list):
        return
    left = []
    for raw in queued:
        try:
            items = requested_items([raw])
        except ValueError:
            continue
        if items and items[0].identity not in consumed:
            left.append(raw)
    runtime_of(run)[PENDING] = left


def _append(run: RunState, turns: list[tuple[str, str]]) -> None:
    context = _own(run.vars, "context")
    messages = context.get("messages")
    if not isinstance(messages, list):
        messages = context["messages"] = []
    for role, text in turns:
        metadata = {"kind": "llm_turn", "node_id": run.current_node or "unknown"}
        messages.append({"role": role, "content": text, "metadata": metadata})
    if isinstance(run.output, dict):
        run.output["messages"] = messages


def _own(values: dict[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        found = values[name] = {}
    return found


def _user_text(prompt: str, messages: list[Any] | None, result: Mapping[str, Any]) -> str | None:
    """What the user said, as it was sent: with the time in front, if that was added, and without attachments.

    A result taken from the ledger comes with the payload as the node made it, so the header is found in the
    recorded request.
    """
    asked = prompt or _last_user_text(messages)
    if not asked:
        return None
    metadata = result.get("metadata") or {}
    sent = (metadata.get("_runtime_observability") or {}).get("llm_generate_kwargs") or {}
    recorded = as_text(sent.get("prompt")) if prompt else _last_user_text(sent.get("messages"))
    if recorded is None:
        return asked
    header, found, _ = recorded.partition(asked)
    return header + asked if found else asked


def _last_user_text(messages: object) -> str | None:
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("role") == "user":
            text = _plain_text(message.get("content"))
            if text:
                return text
    return None


def _plain_text(content: object) -> str:
    """A message's text; of a list of parts, that of its text parts."""
    if isinstance(content, str):
        return content.strip()
    parts = content if isinstance(content, list) else []
    texts = [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]
    return "\n".join(texts).strip()


def _assistant_text(result: Mapping[str, Any]) -> str | None:
    content = result.get("content")
    if isinstance(content, str) and content.strip():
        return content.strip()
    data = result.get("data")
    return None if data is None else json.dumps(data, indent=2, ensure_ascii=False)
