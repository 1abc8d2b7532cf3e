"""Media that a tool has opened, for the next LLM call (`spec/04 §6.6`, §7.7)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.media_items import PENDING, media_item
from .run_settings import own_runtime

__all__ = ["media_of", "queue_media"]


def queue_media(run: RunState, items: Iterable[Any]) -> None:
    """Put what is not there yet behind the run's queue; each file and each artifact is in it once."""
    found = list(items)
    if not found:
        return
    runtime = own_runtime(run)
    queue = runtime.get(PENDING)
    queue = list(queue) if isinstance(queue, list) else []
    known = {item.identity for item in map(media_item, queue) if item is not None}
    for raw in found:
        item = media_item(raw)
        if item is not None and item.identity not in known:
            known.add(item.identity)
            queue.append(raw)
    runtime[PENDING] = queue


def media_of(result: Any) -> list[Any]:
    """What a successful result of ``open_attachment`` wants the model to see."""
    if not isinstance(result, dict) or result.get("success") is not True:
        return []
    output = result.get("output")
    media = output.get("media") if isinstance(output, dict) else None
    return media if isinstance(media, list) else []
