"""Each call may choose provider and model; clients are made once and don't share secrets (`spec/04 §4.3`)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.integrations.abstractcore import llm_client
from abstractruntime.integrations.abstractcore.llm_client import MultiLocalAbstractCoreLLMClient
from tests.abstractcore.providers import RecordingProvider


class FakeAbstractCore(ModuleType):
    """Makes recording providers that answer with the name they were made under."""

    def __init__(self) -> None:
        super().__init__("abstractcore")
        self.made: list[tuple[str, str, dict[str, Any]]] = []
        self.providers: dict[tuple[str, str], RecordingProvider] = {}
        self.before: Callable[[], object] = lambda: None

    def create_llm(self, provider: str, *, model: str, **kwargs: Any) -> RecordingProvider:
        self.before()
        if provider == "nobody":
            raise ValueError("Unknown provider: nobody")
        self.made.append((provider, model, kwargs))
        made = self.providers[provider, model] = RecordingProvider({"content": f"{provider}/{model}"})
        return made


@pytest.fixture
def core(monkeypatch: pytest.MonkeyPatch) -> FakeAbstractCore:
    fake = FakeAbstractCore()
    monkeypatch.setitem(sys.modules, "abstractcore", fake)
    return fake


def client_of(**more: Any) -> MultiLocalAbstractCoreLLMClient:
    return MultiLocalAbstractCoreLLMClient(**{"provider": " OpenAI ", "model": " big ", **more})


def test_the_default_is_made_at_once(core: FakeAbstractCore) -> None:
    client = client_of()
    assert client.list_loaded_clients() == [("openai", "big")]
    assert client._llm is core.providers["openai", "big"]
    assert client.generate(prompt="x")["content"] == "openai/big"


@pytest.mark.parametrize(
    ("params", "answered_by"),
    [
        ({"_provider": " Ollama ", "_model": " qwen "}, "ollama/qwen"),
        ({"_provider": "ollama"}, "ollama/big"),
        ({"_model": "small"}, "openai/small"),
        ({"_provider": "  ", "_model": None}, "openai/big"),
        ({"_provider": 3}, "openai/big"),
        (None, "openai/big"),
    ],
)
def test_a_call_chooses(core: FakeAbstractCore, params: dict[str, Any] | None, answered_by: str) -> None:
    client = client_of()
    assert client.generate(prompt="x", params=params)["content"] == answered_by
    assert client.generate(prompt="x", params=params)["content"] == answered_by
    assert len(core.made) == len(client.list_loaded_clients())
    sent = core.providers[tuple(answered_by.split("/"))].calls[0]  # type: ignore[index]
    assert "_provider" not in sent
    assert "_model" not in sent


def test_a_provider_object_can_be_had(core: FakeAbstractCore) -> None:
    client = client_of()
    found = client.get_provider_instance(provider="Ollama", model="qwen")
    assert found is core.providers["ollama", "qwen"]
    assert found is client.get_provider_instance(provider="ollama", model="qwen")
    assert client.list_loaded_clients() == [("openai", "big"), ("ollama", "qwen")]


def test_an_unknown_provider_fails_its_call_only(core: FakeAbstractCore) -> None:
    client = client_of()
    with pytest.raises(ValueError, match="nobody"):
        client.generate(prompt="x", params={"_provider": "nobody"})
    assert client.generate(prompt="x")["content"] == "openai/big"
    assert client.list_loaded_clients() == [("openai", "big")]


@pytest.mark.weakness("spec/04 §16.16")
def test_no_provider_gets_another_ones_secrets(core: FakeAbstractCore) -> None:
    secret = {
        "api_key": "sk-1",
        "openai_api_key": "sk-2",
        "base_url": "https://example.org/v1",
        "headers": {"Authorization": "Bearer x"},
        "organization": "org-1",
        "auth_token": "t",
        "client_secret": "s",
    }
    shared = {"timeout": 5, "max_tokens": 100, "max_output_tokens": 10, "enable_tracing": False}
    client = client_of(
        llm_kwargs={**secret, **shared},
        provider_kwargs={"Anthropic": {"api_key": "other", "timeout": 9}},
    )
    for provider in ("openai", "ollama", "anthropic"):
        client.generate(prompt="x", params={"_provider": provider, "_model": "small"})
    made = {(provider, model): kwargs for provider, model, kwargs in core.made}
    assert made["openai", "big"] == made["openai", "small"] == {**secret, **shared}
    assert made["ollama", "small"] == shared
    assert made["anthropic", "small"] == {**shared, "api_key": "other", "timeout": 9}


def test_the_default_provider_may_have_own_kwargs_too(core: FakeAbstractCore) -> None:
    client_of(llm_kwargs={"timeout": 5}, provider_kwargs={"openai": {"timeout": 6}})
    assert core.made[0][2]["timeout"] == 6


@pytest.mark.weakness("spec/04 §16.19")
def test_threads_that_want_the_same_client_make_it_once(core: FakeAbstractCore) -> None:
    client = client_of()
    first_one_in = threading.Event()
    all_asked = threading.Semaphore(0)
    release = threading.Event()

    def hold() -> None:
        first_one_in.set()
        assert release.wait(10)

    core.before = hold
    answers: list[str] = []

    def ask() -> None:
        all_asked.release()
        answers.append(client.generate(prompt="x", params={"_provider": "ollama"})["content"])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert all_asked.acquire(timeout=10)
    assert first_one_in.wait(10)
    release.set()
    for thread in threads:
        thread.join(10)
    assert answers == ["ollama/big"] * 4
    assert [made[:2] for made in core.made] == [("openai", "big"), ("ollama", "big")]


@pytest.mark.weakness("spec/04 §16.19")
def test_only_so_many_stay_loaded(core: FakeAbstractCore) -> None:
    client = client_of(max_loaded_clients=2)
    for model in ("a", "b", "a"):
        client.generate(prompt="x", params={"_model": model})
    assert client.list_loaded_clients() == [("openai", "big"), ("openai", "a")]
    assert core.providers["openai", "b"].unloaded == ["b"]
    assert [made[1] for made in core.made] == ["big", "a", "b", "a"]


@pytest.mark.weakness("spec/04 §16.19")
def test_unloading(core: FakeAbstractCore) -> None:
    client = client_of()
    client.generate(prompt="x", params={"_provider": "ollama", "_model": "qwen"})
    assert client.unload(provider="Ollama", model="qwen") is True
    assert client.unload(provider="ollama", model="qwen") is False
    assert core.providers["ollama", "qwen"].unloaded == ["qwen"]
    assert client.unload() is True
    assert client.list_loaded_clients() == []
    assert client.generate(prompt="x")["content"] == "openai/big"
    client.unload_all()
    assert client.list_loaded_clients() == []


def test_an_unload_that_fails_is_logged(core: FakeAbstractCore, caplog: pytest.LogCaptureFixture) -> None:
    client = client_of()

    def fail(model_name: str) -> None:
        raise RuntimeError("busy")

    core.providers["openai", "big"].unload_model = fail  # type: ignore[method-assign]
    assert client.unload() is True
    assert "unloading openai/big failed" in caplog.text


def test_a_limit_below_one_is_refused(core: FakeAbstractCore) -> None:
    with pytest.raises(InvalidInputError, match="max_loaded_clients is 0"):
        client_of(max_loaded_clients=0)


class HostClient:
    """In place of the client class; answers with the pair it was made for."""

    def __init__(self, *, provider: str, model: str, llm_kwargs: dict[str, Any] | None = None) -> None:
        self.pair = f"{provider}/{model}"
        self.llm_kwargs = llm_kwargs
        self._llm = object()

    def generate(self, **keywords: Any) -> dict[str, Any]:
        return {"content": self.pair}

    def get_model_capabilities(self) -> dict[str, Any]:
        return {"max_tokens": 9}


def test_a_host_replaces_the_client_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llm_client, "LocalAbstractCoreLLMClient", HostClient)
    client = client_of(llm_kwargs={"timeout": 5})
    assert client.generate(prompt="x")["content"] == "openai/big"
    assert client.generate(prompt="x", params={"_provider": "ollama"})["content"] == "ollama/big"
    provider = client.get_provider_instance(provider="OpenAI", model="big")
    assert provider is client._llm
    assert client.get_model_capabilities() == {"max_tokens": 9}


def test_capabilities_load_nothing(core: FakeAbstractCore) -> None:
    client = client_of()
    client.unload_all()
    client.get_model_capabilities()
    assert len(core.made) == 1
