"""Media that a tool has opened, for the next LLM call (`spec/04 §6.6`, §7.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from abstractruntime.core.models import RunState
from abstractruntime.core.vars import get_runtime

__all__ = ["media_of", "queue_media"]

_QUEUE = "pending_media"


def queue_media(run: RunState, items: Iterable[Any]) -> None:
    """Put what is not there yet behind the run's queue; each file and each artifact is in it once."""
    found = list(items)
    if not found:
        return
    runtime = get_runtime(run.vars)
    queue = runtime.get(_QUEUE)
    queue = list(queue) if isinstance(queue, list) else []
    known = {_identity(item) for item in queue}
    for item in found:
        identity = _identity(item)
        if identity is not None and identity not in known:
            known.add(identity)
            queue.append(item)
    runtime[_QUEUE] = queue


def media_of(result: Any) -> list[Any]:
    """What a successful result of ``open_attachment`` wants the model to see."""
    if not isinstance(result, dict) or result.get("success") is not True:
        return []
    output = result.get("output")
    media = output.get("media") if isinstance(output, dict) else None
    return media if isinstance(media, list) else []


def _identity(item: Any) -> str | None:
    if isinstance(item, str):
        return item.strip() or None
    if not isinstance(item, dict):
        return None
    artifact = item.get("$artifact") or item.get("artifact_id")
    return None if not artifact else f"artifact:{artifact}"
