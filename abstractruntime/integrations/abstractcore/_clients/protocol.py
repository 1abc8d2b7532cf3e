"""What the handlers ask of an LLM client (`spec/04 §3`)."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

__all__ = ["AbstractCoreLLMClient"]


@runtime_checkable
class AbstractCoreLLMClient(Protocol):
    """Any object with this method can be given to the handlers."""

    def generate(
        self,
        *,
        prompt: str,
        messages: list[dict[str, Any]] | None = None,
        system_prompt: str | None = None,
        tools: list[dict[str, Any]] | None = None,
        media: list[Any] | None = None,
        params: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Ask the model once. The handler always calls it with exactly these six keywords.

        Returns:
            a JSON-like dict: ``content``, ``reasoning``, ``data``, ``raw_response``, ``tool_calls``,
            ``usage``, ``model``, ``finish_reason``, ``metadata``, ``trace_id`` and, from local clients,
            ``gen_time`` and ``ttft_ms`` (milliseconds); which of them are there, `spec/04 §3` says.
        """
        ...
