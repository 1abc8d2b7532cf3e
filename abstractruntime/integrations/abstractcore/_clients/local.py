"""Answers from a provider object of AbstractCore in this process (`spec/04 §4.2`)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from abstractruntime.core.effect_context import effect_under_way
from abstractruntime.core.vars import DEFAULT_MAX_TOKENS

from .._needs_abstractcore import needs_abstractcore
from ..flags import boolish
from ..grounding import ground_turn, strip_system_header
from ..stream_progress import publish
from .generation_locks import generation_lock
from .idempotency import carry_idempotency_keys
from .internal_messages import without_internal_messages
from .provider_results import result_of
from .request_capture import capture_request
from .streams import consume_stream

__all__ = ["LocalAbstractCoreLLMClient"]

logger = logging.getLogger(__name__)

_DEFAULT_TRACES = 50
_NOT_FOR_PROVIDERS = ("stream", "streaming", "base_url", "_provider", "_model")
"""Routing and endpoint are settled when a provider object is made (`spec/04 §4.2`)."""


class LocalAbstractCoreLLMClient:
    """One provider and model.

    Args:
        provider: AbstractCore's name of it, e.g. ``ollama`` or ``openai-compatible``.
        model: the provider's name of the model.
        llm_kwargs: more for ``abstractcore.create_llm``, e.g. ``base_url``, ``api_key``, ``timeout``
            (seconds). Tracing is on, with the last 50 traces kept, unless they say otherwise.

    Attributes:
        cancel_check_interval_s: seconds between two looks at whether the answer of a stream is still wanted.
        grounding: whether time and country go in front of the user's turn (`spec/04 §4.1`); may be set.

    Raises:
        ImportError: AbstractCore is not installed.
        Exception: what AbstractCore raises for an unknown provider or model.
    """

    cancel_check_interval_s = 0.2
    grounding = True

    _provider: str
    _model: str
    _llm: Any

    def __init__(self, *, provider: str, model: str, llm_kwargs: Mapping[str, Any] | None = None) -> None:
        with needs_abstractcore():
            import abstractcore

        kwargs = dict(llm_kwargs or {})
        kwargs.setdefault("enable_tracing", True)
        if kwargs["enable_tracing"]:
            kwargs.setdefault("max_traces", _DEFAULT_TRACES)
        self._provider, self._model = provider, model
        self._llm = abstractcore.create_llm(provider, model=model, **kwargs)

    @classmethod
    def from_provider(cls, llm: Any, *, provider: str, model: str) -> LocalAbstractCoreLLMClient:
        """A client of a provider object that the caller has made: anything with AbstractCore's ``generate``.

        Needs no AbstractCore. See `generation_lock` for what its attribute ``thread_safe`` means.
        """
        client = cls.__new__(cls)
        client._provider, client._model, client._llm = provider, model, llm
        return client

    @property
    def provider_instance(self) -> Any:
        """The provider object."""
        return self._llm

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

        ``params.stream`` (or ``streaming``) makes the provider stream; the answer is whole all the same. In
        the run of an effect the stream is closed when that is cancelled, and its text goes to
        `subscribe_stream_progress`. All other params go to the provider as they are.

        Raises:
            GenerationCancelledError: the effect was cancelled while the answer was streamed.
            Exception: what the provider raises.
        """
        options = dict(params or {})
        # Providers stream no structured output; streaming changes nothing for who gets the whole answer.
        wants_stream = boolish(options.get("stream", options.get("streaming"))) and (
            options.get("response_model") is None
        )
        for name in _NOT_FOR_PROVIDERS:
            options.pop(name, None)
        if self.grounding:
            prompt, messages = ground_turn(prompt, messages)
        request = {
            "prompt": prompt,
            "messages": without_internal_messages(messages),
            "system_prompt": strip_system_header(system_prompt),
            "tools": tools,
            "media": media,
            "stream": wants_stream,
            **options,
        }
        with generation_lock(self._provider, self._model, self._llm):
            result = self._ask(request)
        capture_request(result, provider=self._provider, model=self._model, request=request)
        return result

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        started = time.perf_counter()
        carry_idempotency_keys(self._llm)
        response = self._llm.generate(**request)
        if not (request["stream"] and isinstance(response, Iterator)):
            return result_of(response)
        attempt = effect_under_way()
        if attempt is None:
            return consume_stream(response, started=started)
        return consume_stream(
            response,
            started=started,
            is_cancelled=_now_and_then(attempt.cancelled, self.cancel_check_interval_s),
            on_text=lambda index, text: publish(attempt, index, text),
        )

    def get_model_capabilities(self) -> dict[str, Any]:
        """What AbstractCore knows of the model; ``{"max_tokens": ...}`` if it can't say."""
        return model_capabilities(self._model)


def model_capabilities(model: str) -> dict[str, Any]:
    """AbstractCore's capabilities of a model, with a window of the default size if they can't be had."""
    try:
        from abstractcore.architectures.detection import get_model_capabilities

        return dict(get_model_capabilities(model))
    except Exception:  # a table of somebody else's; a missing entry must not keep a runtime from starting
        logger.info("no capabilities of model %s; a default window is assumed", model, exc_info=True)
        return {"max_tokens": DEFAULT_MAX_TOKENS}


def _now_and_then(ask: Callable[[], bool], interval_s: float) -> Callable[[], bool]:
    """``ask``, but not more often than that: it reads a store, and chunks come by the hundred."""
    next_look = 0.0

    def is_cancelled() -> bool:
        nonlocal next_look
        now = time.monotonic()
        if now < next_look:
            return False
        next_look = now + interval_s
        return ask()

    return is_cancelled
