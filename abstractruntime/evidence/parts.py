"""The large parts of a tool's output (`spec/03 §15.2`)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Part", "parts_of", "stripped"]

TEXT = "text/plain"
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Part:
    """One part, to be stored as an artifact of its own.

    Attributes:
        tag: the artifact's tag ``part``.
        name: its key in the record's ``artifacts``.
        text: the content.
        content_type: its type.
        key: where it is in the output; ``None`` = it is the whole output, which stays.
    """

    tag: str
    name: str
    text: str
    content_type: str = TEXT
    key: str | None = None


_KEYS: dict[str, dict[str, tuple[str, str, str]]] = {
    # tool: key in the output -> (tag, name, what stands in its place)
    "fetch_url": {
        "raw_text": ("raw", "raw", "raw_artifact"),
        "normalized_text": ("normalized", "normalized_text", "normalized_artifact"),
    },
    "execute_command": {
        "stdout": ("stdout", "stdout", "stdout_artifact"),
        "stderr": ("stderr", "stderr", "stderr_artifact"),
    },
}
_WHOLE = {"web_search": "results"}


def parts_of(tool_name: str, output: Any) -> list[Part]:
    """What of the output is stored apart; empty texts are not."""
    if isinstance(output, dict) and tool_name in _KEYS:
        return [
            Part(tag, name, output[key], _type_of(output, key), key)
            for key, (tag, name, _) in _KEYS[tool_name].items()
            if isinstance(output.get(key), str) and output[key]
        ]
    name = _WHOLE.get(tool_name, "output")
    if isinstance(output, str):
        is_json = tool_name in _WHOLE and _is_json(output)
        return [Part(name, name, output, JSON if is_json else TEXT)] if output else []
    if isinstance(output, (dict, list)):
        return [Part(name, name, json.dumps(output, ensure_ascii=False), JSON)]
    return []


def stripped(tool_name: str, output: Any, artifacts: dict[str, str]) -> Any:
    """The output with references in place of what was stored; the output itself where nothing is taken out.

    Args:
        artifacts: artifact id by key of the output.
    """
    keys = _KEYS.get(tool_name, {})
    if not isinstance(output, dict) or not any(key in output for key in keys):
        return output
    kept = {key: value for key, value in output.items() if key not in keys}
    for key, (_, _, reference) in keys.items():
        if key in artifacts:
            kept[reference] = {"$artifact": artifacts[key]}
    return kept


def _type_of(output: dict[str, Any], key: str) -> str:
    declared = output.get("content_type") if key == "raw_text" else None
    return declared.strip() if isinstance(declared, str) and declared.strip() else TEXT


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), (dict, list))
    except (ValueError, RecursionError):
        return False
