"""Time and country in front of each user turn (`spec/04 §4.1`). Needs no AbstractCore.

Clients ground what they send; the kernel grounds the payload of an ``LLM_CALL`` before the ledger sees it
(`spec/01 §11.4`). Text that has a header stays as it is, so doing both changes nothing.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from typing import Any

from ._clients.country import country_code

__all__ = [
    "GROUNDING_SWITCH",
    "current_header",
    "ground_payload",
    "ground_turn",
    "grounding_enabled",
    "strip_system_header",
    "system_context_header",
]

GROUNDING_SWITCH = "ABSTRACTRUNTIME_GROUNDING"
"""The environment variable that switches it off everywhere in this process."""

_OFF = frozenset({"0", "false", "no", "n", "off"})
_HEADER = re.compile(
    r"\s*\[\d{4}[-/]\d{2}[-/]\d{2}[ \t]+\d{2}:\d{2}(?::\d{2})?[ \t]+[a-z]{2}\]", re.IGNORECASE
)
_OLD_LINE = re.compile(
    r"\s*Grounding:[ \t]*(\d{4})[-/](\d{2})[-/](\d{2})[ \t]*\|[ \t]*(\d{2}:\d{2})[ \t]*\|[ \t]*([a-z]{2})"
    r"[ \t]*(?:\r?\n|\Z)",
    re.IGNORECASE,
)


def grounding_enabled() -> bool:
    """False while ``ABSTRACTRUNTIME_GROUNDING`` is ``0``, ``false``, ``no``, ``n`` or ``off``."""
    return os.environ.get(GROUNDING_SWITCH, "").strip().lower() not in _OFF


def system_context_header() -> str:
    """``[YYYY-MM-DD HH:MM:SS CC]``: now, in the local time zone, and the country of this machine."""
    return f"[{datetime.now():%Y-%m-%d %H:%M:%S} {country_code()}]"


def current_header() -> str:
    """The header of the turn that is being sent.

    Hosts replace it as ``llm_client._system_context_header`` (`spec/01 §11.4`), so it is looked up there, at
    each call; while nobody has imported that module, nobody has replaced it.
    """
    clients = sys.modules.get(f"{__package__}.llm_client")
    return str(getattr(clients, "_system_context_header", system_context_header)())


def ground_payload(payload: dict[str, Any]) -> dict[str, Any]:
    """The payload of an ``LLM_CALL`` with its turn grounded; the given one is not changed."""
    prompt, messages = payload.get("prompt"), payload.get("messages")
    grounded_prompt, grounded_messages = ground_turn(prompt, messages)
    grounded = dict(payload)
    if grounded_prompt is not prompt:
        grounded["prompt"] = grounded_prompt
    if grounded_messages is not messages:
        grounded["messages"] = grounded_messages
    return grounded


def ground_turn(prompt: Any, messages: Any) -> tuple[Any, Any]:
    """The same turn with the header in front of the user's text.

    A non-blank prompt is the turn; else the last user message is, and if there is none, one is added. With
    neither, or with grounding switched off, both come back as they are. Nothing given is changed.
    """
    if not grounding_enabled():
        return prompt, messages
    if isinstance(prompt, str) and prompt.strip():
        return _ground_text(prompt), messages
    if isinstance(messages, list) and messages:
        return prompt, _ground_messages(messages)
    return prompt, messages


def strip_system_header(system_prompt: Any) -> Any:
    """The system prompt without a header of an older turn: it would contradict the new one.

    An old ``Grounding:`` line goes as a whole; of a bracket header only the header goes (the published
    package cuts the whole line). ``None`` if nothing remains; text without a header stays as it is.
    """
    if not isinstance(system_prompt, str):
        return system_prompt
    found = _OLD_LINE.match(system_prompt) or _HEADER.match(system_prompt)
    if found is None:
        return system_prompt
    return system_prompt[found.end() :].lstrip() or None


def _ground_messages(messages: list[Any]) -> list[dict[str, Any]]:
    view = [
        dict(entry) if isinstance(entry, dict) else {"role": "user", "content": str(entry)}
        for entry in messages
    ]
    for message in reversed(view):
        if message.get("role") == "user":
            message["content"] = _ground_content(message.get("content"))
            return view
    return [*view, {"role": "user", "content": current_header()}]


def _ground_content(content: Any) -> Any:
    if isinstance(content, list):
        return _ground_parts(content)
    return _ground_text("" if content is None else str(content))


def _ground_parts(parts: list[Any]) -> list[Any]:
    """Images and other parts stay; the published package turns the list into text."""
    first = parts[0] if parts else None
    if isinstance(first, dict) and isinstance(first.get("text"), str) and _HEADER.match(first["text"]):
        return parts
    return [{"type": "text", "text": current_header()}, *parts]


def _ground_text(text: str) -> str:
    if _HEADER.match(text):
        return text
    old = _OLD_LINE.match(text)
    if old is not None:
        year, month, day, minute, country = old.groups()
        header, text = f"[{year}-{month}-{day} {minute}:00 {country.upper()}]", text[old.end() :].lstrip()
    else:
        header = current_header()
    return f"{header} {text}" if text.strip() else header
