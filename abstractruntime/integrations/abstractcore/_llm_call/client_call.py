"""One call of an LLM client, and the second one without structure (`spec/04 §3`, §6.9)."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from ..json_values import json_value
from .errors import LlmCallError, client_failure_kind
from .structured import is_structured_failure
from .truncation import Reply

if TYPE_CHECKING:
    from ..llm_client import AbstractCoreLLMClient

__all__ = ["ClientCall"]

logger = logging.getLogger(__name__)

FALLBACK = "_structured_output_fallback"


class ClientCall:
    """Asks a client, as often as the answer is cut, always with the same six keywords.

    Args:
        request: all keywords but ``params``.
        may_fall_back: after a structured-output failure ask once more, without ``response_model``.
    """

    def __init__(self, llm: AbstractCoreLLMClient, request: dict[str, Any], *, may_fall_back: bool) -> None:
        self._llm = llm
        self._request = request
        self._may_fall_back = may_fall_back

    def __call__(self, params: dict[str, Any]) -> Reply:
        """One answer.

        Raises:
            LlmCallError: with the text of the client's exception.
        """
        try:
            return Reply(self._generate(params), params)
        except Exception as exc:
            if not self._may_fall_back or "response_model" not in params or not is_structured_failure(exc):
                raise _failure(exc) from exc
            reason = str(exc)
        plain = {name: value for name, value in params.items() if name != "response_model"}
        try:
            result = self._generate(plain)
        except Exception as exc:
            raise _failure(exc) from exc
        result["metadata"][FALLBACK] = {"used": True, "error": reason}
        return Reply(result, plain, is_fallback=True)

    def _generate(self, params: dict[str, Any]) -> dict[str, Any]:
        request = self._request
        messages, media = request["messages"], request["media"]
        answer = self._llm.generate(
            prompt=request["prompt"],
            messages=None if messages is None else list(messages),
            system_prompt=request["system_prompt"],
            tools=request["tools"],
            media=None if media is None else list(media),
            params=dict(params),
        )
        result = json_value(answer)
        if not isinstance(result, dict):
            raise LlmCallError(
                f"{type(self._llm).__name__}.generate returned {type(answer).__name__}; it must return a "
                "dict with at least 'content'"
            )
        if not isinstance(result.get("metadata"), dict):
            result["metadata"] = {}
        return result


def _failure(error: Exception) -> LlmCallError:
    if isinstance(error, LlmCallError):
        return error
    return LlmCallError(str(error) or type(error).__name__, kind=client_failure_kind(error))
