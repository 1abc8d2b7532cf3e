"""A provider's stream, consumed into one result (`spec/04 §4.2`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from abstractruntime.core.errors import RuntimeFault

from ..json_values import json_value
from .provider_results import field_of, metadata_of, reasoning_in_metadata, text_or_none
from .tool_call_shapes import normalise_tool_calls

__all__ = ["GenerationCancelledError", "consume_stream"]


class GenerationCancelledError(RuntimeFault):
    """Nobody wants the answer any more; the stream was closed before its end."""


def consume_stream(
    stream: Iterator[Any],
    *,
    started: float,
    is_cancelled: Callable[[], bool] = lambda: False,
    on_text: Callable[[int, str], None] = lambda index, text: None,
) -> dict[str, Any]:
    """The whole answer.

    Args:
        stream: chunks, dicts or objects.
        started: `time.perf_counter` when the request was made.
        is_cancelled: asked before each chunk is taken in; true closes the stream.
        on_text: gets the index and text of each chunk that has text.

    Raises:
        GenerationCancelledError: ``is_cancelled`` said so.
        Exception: whatever the stream raises.
    """
    answer = _Collected(started)
    try:
        for index, chunk in enumerate(stream):
            if is_cancelled():
                raise GenerationCancelledError(
                    f"the answer is not wanted any more: stopped after {index} chunks of the stream"
                )
            text = answer.add(chunk)
            if text:
                on_text(index, text)
    finally:
        close = getattr(stream, "close", None)
        if callable(close):
            close()
    return answer.result()


def _elapsed_ms(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


@dataclass(slots=True)
class _Collected:
    """Text is joined; of calls, usage and finish reason the last counts; of model and trace id the first."""

    started: float
    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    reasoning: str | None = None
    trace_id: str | None = None
    model: str | None = None
    tool_calls: Any = None
    usage: Any = None
    finish_reason: Any = None
    first_token_ms: float | None = None
    reported_ttft_ms: float | None = None

    def add(self, chunk: Any) -> str:
        """Take a chunk in; returns its text."""
        text = _text_of(chunk)
        self.texts.append(text)
        for name in ("tool_calls", "usage", "finish_reason"):
            value = field_of(chunk, name)
            if value is not None:
                setattr(self, name, value)
        self.model = self.model or text_or_none(field_of(chunk, "model"))
        self._add_metadata(metadata_of(chunk))
        if self.first_token_ms is None and (text or field_of(chunk, "tool_calls")):
            self.first_token_ms = _elapsed_ms(self.started)
        return text

    def _add_metadata(self, metadata: dict[str, Any]) -> None:
        self.metadata.update(metadata)
        self.trace_id = self.trace_id or text_or_none(metadata.get("trace_id"))
        # A later complete text replaces an earlier one (AbstractCore 2.30 sends it with the last chunk).
        self.reasoning = reasoning_in_metadata(metadata) or self.reasoning
        delta = metadata.get("reasoning_delta")
        if isinstance(delta, str):
            self.thoughts.append(delta)
        timing = metadata.get("_timing")
        reported = timing.get("ttft_ms") if isinstance(timing, dict) else None
        if self.reported_ttft_ms is None and isinstance(reported, (int, float)):
            self.reported_ttft_ms = reported

    def result(self) -> dict[str, Any]:
        reported = self.reported_ttft_ms
        return {
            "content": "".join(self.texts),
            "reasoning": self.reasoning or text_or_none("".join(self.thoughts)),
            "data": None,
            "tool_calls": normalise_tool_calls(self.tool_calls),
            "usage": json_value(self.usage),
            "model": self.model,
            "finish_reason": json_value(self.finish_reason),
            "metadata": self.metadata,
            "trace_id": self.trace_id,
            "gen_time": _elapsed_ms(self.started),
            "ttft_ms": reported if reported is not None else self.first_token_ms,
        }


def _text_of(chunk: Any) -> str:
    content = field_of(chunk, "content")
    if content is None and isinstance(chunk, str):
        return chunk
    return content if isinstance(content, str) else "" if content is None else str(content)
