"""Local answers from whatever provider and model a call asks for (`spec/04 §4.3`)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from abstractruntime.core.errors import InvalidInputError

from .local import LocalAbstractCoreLLMClient, model_capabilities
from .provider_kwargs import ProviderKwargs
from .residency import Residency

__all__ = ["MultiLocalAbstractCoreLLMClient"]

logger = logging.getLogger(__name__)

_DEFAULT_MAX_LOADED = 16

Pair = tuple[str, str]


class MultiLocalAbstractCoreLLMClient:
    """``params._provider`` and ``params._model`` choose; what is missing is the default's.

    Args:
        provider, model: the default; its client is made at once.
        llm_kwargs: as in `LocalAbstractCoreLLMClient`, for the default provider. Other providers get it
            without what belongs to an account or an endpoint (``api_key``, ``base_url``, ...), so that no
            provider is handed another one's secrets. The published package gives all of it to all.
        provider_kwargs: more ``llm_kwargs`` by provider name, laid over those.
        max_loaded_clients: how many clients stay loaded, at least 1. The least recently used leaves; the
            default stays. The published package keeps all for ever.

    Attributes:
        grounding: whether time and country go in front of the user's turn (`spec/04 §4.1`); may be set.

    Raises:
        InvalidInputError: ``max_loaded_clients`` is below 1.
    """

    grounding = True

    def __init__(
        self,
        *,
        provider: str,
        model: str,
        llm_kwargs: Mapping[str, Any] | None = None,
        provider_kwargs: Mapping[str, Mapping[str, Any]] | None = None,
        max_loaded_clients: int = _DEFAULT_MAX_LOADED,
    ) -> None:
        if max_loaded_clients < 1:
            raise InvalidInputError(f"max_loaded_clients is {max_loaded_clients}; use 1 or more")
        self._default: Pair = (_provider_name(provider), _model_name(model))
        self._kwargs = ProviderKwargs(self._default[0], llm_kwargs, provider_kwargs)
        self._clients: Residency[Pair, LocalAbstractCoreLLMClient] = Residency(
            self._load, _unload, limit=max_loaded_clients, pinned=frozenset({self._default})
        )
        self._clients.get(self._default)

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
        """See `LocalAbstractCoreLLMClient.generate`; loads the client if need be."""
        options = dict(params or {})
        pair = self._pair(options.pop("_provider", None), options.pop("_model", None))
        with self._clients.using(pair) as client:
            client.grounding = self.grounding
            return client.generate(
                prompt=prompt,
                messages=messages,
                system_prompt=system_prompt,
                tools=tools,
                media=media,
                params=options,
            )

    def get_provider_instance(self, *, provider: str, model: str) -> Any:
        """AbstractCore's provider object of this pair; loads it if need be."""
        return self._clients.get(self._pair(provider, model))._llm

    def list_loaded_clients(self) -> list[Pair]:
        """(provider, model) of what is loaded, in the order in which it was loaded."""
        return self._clients.keys()

    def unload(self, *, provider: str | None = None, model: str | None = None) -> bool:
        """Let one client go and free what its provider holds; whether it was loaded.

        Calls in flight end first. The next call loads it again, also that of the default.
        """
        return self._clients.remove(self._pair(provider, model))

    def unload_all(self) -> None:
        """Let all clients go."""
        self._clients.clear()

    def get_model_capabilities(self) -> dict[str, Any]:
        """Of the default model; see `LocalAbstractCoreLLMClient.get_model_capabilities`."""
        return model_capabilities(self._default[1])

    @property
    def _llm(self) -> Any:
        """The provider object of the default."""
        return self._clients.get(self._default)._llm

    def _pair(self, provider: Any, model: Any) -> Pair:
        return (_provider_name(provider) or self._default[0], _model_name(model) or self._default[1])

    def _load(self, pair: Pair) -> LocalAbstractCoreLLMClient:
        provider, model = pair
        return LocalAbstractCoreLLMClient(
            provider=provider, model=model, llm_kwargs=self._kwargs.of(provider)
        )


def _provider_name(value: Any) -> str:
    return value.strip().lower() if isinstance(value, str) else ""


def _model_name(value: Any) -> str:
    return value.strip() if isinstance(value, str) else ""


def _unload(pair: Pair, client: LocalAbstractCoreLLMClient) -> None:
    """Free the model or connection. The client is out of use by now, so a failure is not the caller's."""
    unload = getattr(client._llm, "unload_model", None)
    if not callable(unload):
        return
    try:
        unload(pair[1])
    except Exception:
        logger.warning("unloading %s/%s failed", *pair, exc_info=True)
