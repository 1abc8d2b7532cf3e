"""Texts as vectors, by AbstractCore (`spec/04 §12`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ._needs_abstractcore import needs_abstractcore

__all__ = ["AbstractCoreEmbeddingsClient", "EmbeddingsResult"]


@dataclass(frozen=True)
class EmbeddingsResult:
    """One vector for each text, in their order; ``dimension`` is the length of each."""

    provider: str
    model: str
    embeddings: list[list[float]]
    dimension: int


class AbstractCoreEmbeddingsClient:
    """One embedding model.

    Args:
        provider: AbstractCore's name of it, in any case.
        model: the provider's name of the model.
        manager_kwargs: more for AbstractCore's ``EmbeddingManager``, e.g. ``strict`` (fail instead of giving
            vectors of zeros), ``cache_dir``, ``provider_kwargs`` (``base_url``, ``api_key``).

    Raises:
        ValueError: provider or model is blank.
        ImportError: AbstractCore is not installed.
    """

    def __init__(self, *, provider: str, model: str, manager_kwargs: Mapping[str, Any] | None = None) -> None:
        self._provider = str(provider or "").strip().lower()
        self._model = str(model or "").strip()
        if not self._provider:
            raise ValueError("provider is required for embeddings")
        if not self._model:
            raise ValueError("model is required for embeddings")
        with needs_abstractcore():
            from abstractcore.embeddings.manager import EmbeddingManager

        self._manager = EmbeddingManager(
            provider=self._provider, model=self._model, **dict(manager_kwargs or {})
        )

    @property
    def provider(self) -> str:
        """Trimmed and in lower case."""
        return self._provider

    @property
    def model(self) -> str:
        """Trimmed."""
        return self._model

    def embed_texts(self, texts: Iterable[str | None]) -> EmbeddingsResult:
        """A vector for each text; ``None`` counts as the empty text."""
        wanted = ["" if text is None else str(text) for text in texts]
        vectors = [[float(part) for part in vector] for vector in self._manager.embed_batch(wanted)]
        dimension = len(vectors[0]) if vectors else int(self._manager.get_dimension())
        return EmbeddingsResult(self._provider, self._model, vectors, dimension)
