"""Summaries of chat history, for memory compaction (`spec/04 §11`)."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from ._needs_abstractcore import needs_abstractcore
from .json_values import json_value

__all__ = ["AbstractCoreChatSummarizer", "ChatSummarizer"]

_MODES = frozenset({"light", "standard", "heavy"})


@runtime_checkable
class ChatSummarizer(Protocol):
    """What ``Runtime(chat_summarizer=...)`` takes."""

    def summarize_chat_history(
        self,
        messages: list[dict[str, Any]],
        *,
        preserve_recent: int = 6,
        focus: str | None = None,
        compression_mode: str = "standard",
    ) -> dict[str, Any]:
        """Summarise all but the last ``preserve_recent`` messages; a dict with ``summary``, ``key_points``
        and ``confidence``."""
        ...


class AbstractCoreChatSummarizer:
    """AbstractCore's ``BasicSummarizer`` over a provider object.

    Args:
        llm: the provider object, e.g. ``client.provider_instance``.
        max_tokens: context window; longer histories are summarised in pieces. -1: the model's own.
        max_output_tokens: of one summary; -1: the model's own.

    Raises:
        ImportError: AbstractCore is not installed.
    """

    def __init__(self, llm: Any, *, max_tokens: int = -1, max_output_tokens: int = -1) -> None:
        with needs_abstractcore():
            from abstractcore.processing import BasicSummarizer

        self._max_tokens, self._max_output_tokens = max_tokens, max_output_tokens
        self._summarizer = BasicSummarizer(llm, max_tokens=max_tokens, max_output_tokens=max_output_tokens)

    @property
    def max_tokens(self) -> int:
        """The context window; -1: the model's own."""
        return self._max_tokens

    @property
    def max_output_tokens(self) -> int:
        """Tokens of one summary; -1: the model's own."""
        return self._max_output_tokens

    def summarize_chat_history(
        self,
        messages: list[dict[str, Any]],
        *,
        preserve_recent: int = 6,
        focus: str | None = None,
        compression_mode: str = "standard",
    ) -> dict[str, Any]:
        """Summarise the older messages.

        Args:
            messages: dicts with ``role`` and ``content``.
            preserve_recent: how many at the end are left out; 0 or less: none.
            focus: what matters most.
            compression_mode: ``light``, ``standard`` or ``heavy``, in any case; else it is ``standard``.

        Returns:
            JSON-like: ``summary``, ``key_points`` (list), ``confidence`` and ``focus_alignment`` (0 to 1, or
            ``None``), ``word_count_original``, ``word_count_summary``.
        """
        from abstractcore.processing import CompressionMode

        history = [_as_text(message) for message in messages]
        output = self._summarizer.summarize_chat_history(
            history,
            # AbstractCore takes 0 for "leave all out" and would summarise nothing; so many that none is
            # older is its way to say "summarise all".
            preserve_recent=preserve_recent if preserve_recent > 0 else max(1, len(history)),
            focus=focus,
            compression_mode=CompressionMode(_mode(compression_mode)),
        )
        return {
            "summary": str(output.summary or ""),
            "key_points": [str(point) for point in output.key_points or []],
            "confidence": _share(output.confidence),
            "focus_alignment": _share(output.focus_alignment),
            "word_count_original": int(output.word_count_original or 0),
            "word_count_summary": int(output.word_count_summary or 0),
        }


def _mode(value: Any) -> str:
    mode = value.strip().lower() if isinstance(value, str) else ""
    return mode if mode in _MODES else "standard"


def _as_text(message: dict[str, Any]) -> dict[str, Any]:
    """AbstractCore wants text; parts of a multimodal message count with theirs."""
    content = message.get("content")
    if isinstance(content, list):
        texts = (part.get("text") if isinstance(part, dict) else part for part in content)
        content = "\n".join(text for text in texts if isinstance(text, str))
    return {
        "role": str(message.get("role") or "unknown"),
        "content": ""
        if content is None
        else content
        if isinstance(content, str)
        else str(json_value(content)),
    }


def _share(value: Any) -> float | None:
    """0.0 is a confidence too; the published package loses it."""
    return float(value) if isinstance(value, (int, float)) else None
