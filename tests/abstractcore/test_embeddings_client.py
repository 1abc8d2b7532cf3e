"""Vectors through AbstractCore, from a server behind real HTTP (`spec/04 §12`)."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.embeddings_client import (
    AbstractCoreEmbeddingsClient,
    EmbeddingsResult,
)
from tests.abstractcore.openai_server import EMBEDDING_DIMENSION, OpenAIServer


@pytest.mark.parametrize(
    ("provider", "model", "message"),
    [
        ("", "m", "provider is required for embeddings"),
        ("  ", "m", "provider is required for embeddings"),
        ("p", " ", "model is required for embeddings"),
        (None, None, "provider is required for embeddings"),
    ],
)
def test_blank_names_are_refused(provider: Any, model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        AbstractCoreEmbeddingsClient(provider=provider, model=model)


def test_results_are_frozen() -> None:
    result = EmbeddingsResult(provider="p", model="m", embeddings=[[1.0]], dimension=1)
    with pytest.raises(FrozenInstanceError):
        result.dimension = 2  # type: ignore[misc]


def test_vectors_of_a_server(tmp_path: Path) -> None:
    pytest.importorskip("abstractcore", reason="its EmbeddingManager is what is adapted")
    pytest.importorskip("numpy", reason="AbstractCore's EmbeddingManager needs it")
    with OpenAIServer(models=["embed-1"]) as server:
        client = AbstractCoreEmbeddingsClient(
            provider=" OpenAI-Compatible ",
            model=" embed-1 ",
            manager_kwargs={
                "cache_dir": tmp_path,
                "strict": True,
                "provider_kwargs": {"base_url": server.base_url},
            },
        )
        result = client.embed_texts(["a", None, "a"])
        nothing = client.embed_texts([])
        client._manager._provider_instance.client.close()
    assert (client.provider, client.model) == ("openai-compatible", "embed-1")
    assert (result.provider, result.model) == ("openai-compatible", "embed-1")
    assert result.dimension == nothing.dimension == EMBEDDING_DIMENSION
    assert [len(vector) for vector in result.embeddings] == [EMBEDDING_DIMENSION] * 3
    assert result.embeddings[0] == result.embeddings[2] != result.embeddings[1]
    assert nothing.embeddings == []
