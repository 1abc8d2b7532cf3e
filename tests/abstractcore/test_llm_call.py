"""`LLM_CALL`: payload, failures, trace context, prompt cache, routing (`spec/04 §6.1` to §6.4)."""

from __future__ import annotations

import hashlib
import logging
from typing import Any

import pytest

from abstractruntime.core.errors import ConfigurationError
from abstractruntime.core.models import EffectType
from abstractruntime.integrations.abstractcore.effect_handlers import (
    build_effect_handlers,
    make_llm_call_handler,
)

from .llm_calls import RecordingClient, a_run, answered, ask, sent


def test_the_client_gets_exactly_six_keywords() -> None:
    client = RecordingClient()
    tools = [{"name": "look"}]
    messages = [{"role": "user", "content": "before"}]
    payload = {"prompt": " hi ", "messages": messages, "system_prompt": "be brief", "tools": tools}
    answered(client, {**payload, "params": {"temperature": 0.2, "stt_language": "fr"}})
    assert set(client.call) == {"prompt", "messages", "system_prompt", "tools", "media", "params"}
    assert client.call["prompt"] == "hi"
    assert client.call["messages"] == messages
    assert (client.call["system_prompt"], client.call["tools"]) == ("be brief", tools)
    assert client.call["media"] is None
    assert client.params["temperature"] == 0.2
    assert client.params["stt_language"] == "fr"


@pytest.mark.parametrize("prompt", [None, "", "  ", [], {"a": 1}, True])
@pytest.mark.parametrize("messages", [None, [], "hi", {"role": "user"}])
def test_nothing_to_ask_is_a_failure(prompt: Any, messages: Any) -> None:
    client = RecordingClient()
    outcome = ask(client, {"prompt": prompt, "messages": messages, "request": "not accepted"})
    assert outcome.status == "failed"
    assert outcome.error == "llm_call requires payload.prompt or payload.messages"
    assert outcome.kind == "validation"
    assert client.calls == []


@pytest.mark.parametrize("payload", [None, [], "text", 7])
def test_a_payload_that_is_no_object_asks_nothing(payload: Any) -> None:
    assert ask(RecordingClient(), payload).status == "failed"


def test_what_can_not_be_used_counts_as_absent() -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "tools": [], "params": "no object", "media": "x", "provider": " "})
    assert (client.call["tools"], client.call["media"]) == (None, None)
    assert set(client.params) == {"trace_metadata"}


def test_the_result_is_the_client_s_and_its_metadata() -> None:
    reply = {"content": "yes", "usage": {"input_tokens": 3}, "metadata": {"own": 1}, "tool_calls": None}
    result = answered(RecordingClient(reply), {"prompt": "p"})
    metadata = result.pop("metadata")
    assert result == {"content": "yes", "usage": {"input_tokens": 3}, "tool_calls": None}
    assert set(metadata) == {"own", "_runtime_observability"}
    assert reply["metadata"] == {"own": 1}


@pytest.mark.parametrize("metadata", [None, "text", []])
def test_metadata_is_made_where_there_is_none(metadata: Any) -> None:
    result = answered(RecordingClient({"content": "yes", "metadata": metadata}), {"prompt": "p"})
    assert set(sent(result)) == {
        "prompt",
        "messages",
        "system_prompt",
        "media",
        "tools",
        "params",
        "structured_output_fallback",
    }


# -- failures ---------------------------------------------------------------------------------------------


class ReadTimeout(Exception):
    """Named as those of HTTP libraries."""


@pytest.mark.weakness("spec/04 §16.29")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError("503 from provider"), "provider"),
        (TimeoutError("too slow"), "timeout"),
        (ReadTimeout("too slow"), "timeout"),
        (ValueError("media not supported"), "provider"),
    ],
)
def test_an_exception_of_the_client_is_a_failure_with_a_kind(error: Exception, kind: str) -> None:
    outcome = ask(RecordingClient(error), {"prompt": "p"})
    assert (outcome.status, outcome.error, outcome.kind) == ("failed", str(error), kind)


def test_an_exception_without_text_is_named() -> None:
    assert ask(RecordingClient(KeyError()), {"prompt": "p"}).error == "KeyError"


def test_a_client_that_returns_no_object_is_told() -> None:
    outcome = ask(RecordingClient(lambda request: "text"), {"prompt": "p"})  # type: ignore[arg-type,return-value]
    assert outcome.error is not None
    assert outcome.error.startswith("RecordingClient.generate returned str; it must return a dict")


@pytest.mark.weakness("spec/04 §16.18")
def test_the_log_quotes_neither_prompt_nor_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        ask(RecordingClient(RuntimeError("the server said: SECRET")), {"prompt": "SECRET"})
    assert "LLM call of run r1, node ask: provider" in caplog.text
    assert "SECRET" not in caplog.text


# -- trace context ----------------------------------------------------------------------------------------


def test_the_run_s_ids_go_along() -> None:
    client = RecordingClient()
    run = a_run(actor_id="a1", session_id="s1", parent_run_id="p1")
    given = {"trace": "mine", "run_id": "not mine"}
    payload = {"prompt": "p", "params": {"trace_metadata": given}}
    answered(client, payload, run)
    assert client.params["trace_metadata"] == {
        "trace": "mine",
        "run_id": "r1",
        "workflow_id": "wf",
        "node_id": "ask",
        "actor_id": "a1",
        "session_id": "s1",
        "parent_run_id": "p1",
    }
    assert given == {"trace": "mine", "run_id": "not mine"}


@pytest.mark.parametrize("given", [None, "text", 5])
def test_ids_that_are_not_set_are_left_out(given: Any) -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "params": {"trace_metadata": given}})
    assert client.params["trace_metadata"] == {"run_id": "r1", "workflow_id": "wf", "node_id": "ask"}


def test_routing_goes_in_the_params() -> None:
    client = RecordingClient()
    answered(client, {"prompt": "p", "provider": " LMStudio ", "model": " m "})
    assert (client.params["_provider"], client.params["_model"]) == ("LMStudio", "m")


# -- prompt cache -----------------------------------------------------------------------------------------

ROUTED = {"prompt": "p", "provider": "OpenAI", "model": "gpt"}


def cache_key(setting: Any = None, payload: dict[str, Any] = ROUTED, **run: Any) -> Any:
    client = RecordingClient()
    fields = {"session_id": "s1", **run}
    vars = {} if setting is None else {"_runtime": {"prompt_cache": setting}}
    answered(client, payload, a_run(vars, **fields))
    return client.params.get("prompt_cache_key", "absent")


def expected_key(namespace: str = "session", session: str = "s1") -> str:
    digest = hashlib.sha256(f"v1|{session}|openai|gpt|wf|ask".encode()).hexdigest()
    return f"{namespace}:{digest[:24]}"


def test_there_is_no_cache_key_unless_somebody_wants_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ABSTRACTRUNTIME_PROMPT_CACHE", raising=False)
    assert cache_key() == "absent"
    assert cache_key(False) == "absent"
    assert cache_key({"enabled": False, "namespace": "n"}) == "absent"


@pytest.mark.parametrize("name", ["ABSTRACTRUNTIME_PROMPT_CACHE", "ABSTRACTGATEWAY_PROMPT_CACHE"])
def test_the_operator_may_want_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, " Yes ")
    assert cache_key() == expected_key()
    assert cache_key(False) == "absent"


def test_the_run_may_want_one() -> None:
    assert cache_key(True) == expected_key()
    assert cache_key({}) == expected_key()
    assert cache_key({"namespace": " team "}) == expected_key("team")
    assert cache_key({"key": " fixed ", "enabled": False}) == "fixed"
    assert cache_key({"key": " "}) == expected_key()


def test_a_derived_key_needs_session_provider_and_model() -> None:
    assert cache_key(True, {"prompt": "p", "provider": "openai"}) == "absent"
    assert cache_key(True, {"prompt": "p", "model": "gpt"}) == "absent"
    assert cache_key(True, session_id=None) == "absent"
    traced = {**ROUTED, "params": {"trace_metadata": {"session_id": "s2"}}}
    assert cache_key(True, traced, session_id=None) == expected_key(session="s2")


@pytest.mark.parametrize("own", [None, "", "mine"])
def test_a_caller_s_own_key_stands(own: Any) -> None:
    payload = {**ROUTED, "params": {"prompt_cache_key": own}}
    assert cache_key(True, payload) == own


# -- what is kept of the request ----------------------------------------------------------------------------


def test_by_default_the_request_is_kept_as_sent() -> None:
    result = answered(RecordingClient(), {"prompt": "p", "params": {"seed": 1}, "system_prompt": "s"})
    assert sent(result)["prompt"] == "p"
    assert sent(result)["system_prompt"] == "s"
    assert sent(result)["params"]["seed"] == 1
    assert sent(result)["structured_output_fallback"] is False


REPLY = {"content": "yes", "raw_response": {"echo": "SECRET"}, "metadata": {"_provider_request": "SECRET"}}


@pytest.mark.weakness("spec/04 §16.18")
@pytest.mark.weakness("spec/04 §16.23")
def test_the_request_may_be_kept_once_by_content() -> None:
    from abstractruntime.storage.artifacts import InMemoryArtifactStore

    store = InMemoryArtifactStore()
    payload = {"prompt": "SECRET", "messages": [{"role": "user", "content": "SECRET"}]}
    results = [answered(RecordingClient(REPLY), payload, None, store, capture="reference") for _ in range(2)]
    first, second = (result["metadata"]["_runtime_observability"]["request"] for result in results)
    assert first == second
    assert "SECRET" not in str(results)
    assert len(store.list_all()) == 1
    kept = store.load_json(first["$artifact"])
    assert (kept["prompt"], kept["messages"]) == ("SECRET", payload["messages"])
    alone = answered(RecordingClient(REPLY), payload, capture="reference")
    assert set(alone["metadata"]["_runtime_observability"]["request"]) == {"sha256", "size_bytes"}


def test_a_store_that_is_full_costs_no_result() -> None:
    class Full:
        def store(self, content: bytes, **_: Any) -> Any:
            raise OSError("disk full")

    result = answered(RecordingClient(REPLY), {"prompt": "p"}, None, Full(), capture="reference")
    assert result["content"] == "yes"
    assert set(result["metadata"]["_runtime_observability"]["request"]) == {"sha256", "size_bytes"}


@pytest.mark.weakness("spec/04 §16.18")
def test_a_run_may_opt_out() -> None:
    run = a_run({"_runtime": {"llm_capture": "none"}})
    result = answered(RecordingClient(REPLY), {"prompt": "SECRET"}, run)
    assert result == {"content": "yes", "metadata": {}}


def test_an_unknown_capture_level_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="LLM capture level is 'some'"):
        make_llm_call_handler(llm=RecordingClient(), capture="some")  # type: ignore[arg-type]


def test_the_map_of_handlers() -> None:
    handlers = build_effect_handlers(llm=RecordingClient())
    assert set(handlers) == {EffectType.LLM_CALL, EffectType.TOOL_CALLS}
