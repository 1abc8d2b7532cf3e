"""Answers from an AbstractCore server (`spec/04 §5`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from abstractruntime.core.errors import RuntimeFault

from ..constants import DEFAULT_LLM_TIMEOUT_S
from ..grounding import ground_turn, strip_system_header
from ..json_values import json_value
from .provider_results import reasoning_in_payload
from .remote_request import chat_body, chat_headers
from .request_sender import HttpxRequestSender, RequestSender, response_parts
from .tool_call_shapes import normalise_tool_calls

__all__ = ["RemoteAbstractCoreLLMClient", "RemoteAnswerError"]

logger = logging.getLogger(__name__)

_TRACE_ID_HEADERS = ("x-abstractcore-trace-id", "x-trace-id")


class RemoteAnswerError(RuntimeFault):
    """The server answered with an error although the HTTP status said success."""


class RemoteAbstractCoreLLMClient:
    """One server.

    Args:
        server_base_url: e.g. ``http://127.0.0.1:8000``; ``/v1/chat/completions`` is added.
        model: as the server names it (``provider/model``); a call's ``_provider`` and ``_model`` go before.
        timeout_s: seconds for one answer, here and in the server; default 7200.
        headers: for every request, e.g. ``{"Authorization": "Bearer ..."}``: the server wants a token by
            default.
        request_sender: how requests go out; default: pooled ``httpx``.

    Attributes:
        grounding: whether time and country go in front of the user's turn (`spec/04 §4.1`); may be set.
    """

    grounding = True

    def __init__(
        self,
        *,
        server_base_url: str,
        model: str,
        timeout_s: float | None = None,
        headers: Mapping[str, str] | None = None,
        request_sender: RequestSender | None = None,
    ) -> None:
        self._server_base_url = server_base_url.rstrip("/")
        self._model = model
        self._timeout_s = DEFAULT_LLM_TIMEOUT_S if timeout_s is None else float(timeout_s)
        self._headers = dict(headers or {})
        self._sender: RequestSender = HttpxRequestSender() if request_sender is None else request_sender

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
        """See `AbstractCoreLLMClient.generate`.

        Raises:
            ValueError: media were given.
            RemoteAnswerError: the body is an error.
            Exception: what the request sender raises.
        """
        if media:
            raise ValueError(
                "RemoteAbstractCoreLLMClient does not support media yet: run this call with a local client, "
                "or put the text of the attachments into the messages"
            )
        options = dict(params or {})
        if self.grounding:
            prompt, messages = ground_turn(prompt, messages)
        asked = chat_body(
            model=self._model,
            timeout_s=self._timeout_s,
            prompt=prompt,
            messages=messages,
            system_prompt=strip_system_header(system_prompt),
            tools=tools,
            params=options,
        )
        body: dict[str, Any] = json_value(asked)
        url = f"{self._server_base_url}/v1/chat/completions"
        answer, headers = response_parts(
            self._sender.post(
                url, headers=chat_headers(self._headers, options), json=body, timeout=self._timeout_s
            )
        )
        metadata: dict[str, Any] = {"_provider_request": {"url": url, "payload": json_value(asked)}}
        trace_id = next((headers[name] for name in _TRACE_ID_HEADERS if headers.get(name)), None)
        if trace_id:
            metadata["trace_id"] = trace_id
        return _result(answer, metadata, trace_id)

    def close(self) -> None:
        """Close the sender's connections, if it has any."""
        close = getattr(self._sender, "close", None)
        if callable(close):
            close()


def _result(body: dict[str, Any], metadata: dict[str, Any], trace_id: str | None) -> dict[str, Any]:
    choice = _first_choice(body)
    if choice is None:
        return _without_choice(body, metadata, trace_id)
    message = choice["message"]
    return {
        "content": json_value(message.get("content")),
        "reasoning": reasoning_in_payload({"message": message}),
        "data": None,
        "raw_response": json_value(body),
        "tool_calls": normalise_tool_calls(message.get("tool_calls")),
        "usage": json_value(body.get("usage")),
        "model": json_value(body.get("model")),
        "finish_reason": json_value(choice.get("finish_reason")),
        "metadata": metadata,
        "trace_id": trace_id,
    }


def _first_choice(body: dict[str, Any]) -> dict[str, Any] | None:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) and isinstance(first.get("message"), dict) else None


def _without_choice(body: dict[str, Any], metadata: dict[str, Any], trace_id: str | None) -> dict[str, Any]:
    """An error fails the call (the published package completes it); other odd bodies are handed on."""
    error = body.get("error")
    if error:
        message = error.get("message", error) if isinstance(error, dict) else error
        raise RemoteAnswerError(f"the server answered with an error: {message}")
    logger.warning("the server's answer has no usable choice; its keys are %s", sorted(map(str, body)))
    data = json_value(body)
    return {
        "content": None,
        "reasoning": None,
        "data": data,
        "raw_response": json_value(body),
        "tool_calls": None,
        "usage": None,
        "model": None,
        "finish_reason": None,
        "metadata": metadata,
        "trace_id": trace_id,
    }
