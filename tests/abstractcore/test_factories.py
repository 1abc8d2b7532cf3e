"""What the factories make, and of what (`spec/04 §2`)."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import NoRetryPolicy
from abstractruntime.integrations.abstractcore import factory
from abstractruntime.integrations.abstractcore.tool_executor import (
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.artifact_files import FileArtifactStore
from abstractruntime.storage.artifact_memory import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from abstractruntime.storage.json_files import JsonFileRunStore
from abstractruntime.storage.jsonl_ledger import JsonlLedgerStore
from abstractruntime.storage.observable import ObservableLedgerStore

Make = Callable[..., Runtime]

REMOTE = {"server_base_url": "http://s:1", "model": "m"}
LOCAL = {"provider": " Ollama ", "model": " qwen "}


class FakeClient:
    """In place of either client class of the factory."""

    capabilities: ClassVar[dict[str, Any] | None] = {"max_tokens": 1000, "max_output_tokens": 100}

    def __init__(self, **keywords: Any) -> None:
        self.keywords = keywords
        self._llm = object()

    def get_model_capabilities(self) -> dict[str, Any] | None:
        return self.capabilities

    def generate(self, **keywords: Any) -> dict[str, Any]:
        return {"content": keywords["prompt"]}


class FakeExecutor:
    def __init__(self, *, timeout_s: float | None = None) -> None:
        self.timeouts = [timeout_s]

    def set_timeout_s(self, timeout_s: float | None) -> None:
        self.timeouts.append(timeout_s)

    def execute(self, *, tool_calls: list[dict[str, Any]]) -> dict[str, Any]:
        return {"mode": "executed", "results": []}


class FakeSummarizer(SimpleNamespace):
    pass


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which of AbstractCore's configured timeouts were asked for; they are 111 and 22 seconds."""
    questions: list[str] = []

    def answer(name: str, value: float) -> Callable[[], float]:
        def ask() -> float:
            questions.append(name)
            return value

        return ask

    manager = ModuleType("abstractcore.config.manager")
    settings = SimpleNamespace(get_default_timeout=answer("llm", 111), get_tool_timeout=answer("tool", 22))
    manager.get_config_manager = lambda: settings  # type: ignore[attr-defined]
    config = ModuleType("abstractcore.config")
    config.manager = manager  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "abstractcore", ModuleType("abstractcore"))
    monkeypatch.setitem(sys.modules, "abstractcore.config", config)
    monkeypatch.setitem(sys.modules, "abstractcore.config.manager", manager)
    return questions


@pytest.fixture
def handlers_of(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What ``build_effect_handlers`` was called with."""
    seen: list[dict[str, Any]] = []
    real = factory.build_effect_handlers

    def build(**keywords: Any) -> Any:
        seen.append(keywords)
        return real(**keywords)

    monkeypatch.setattr(factory, "build_effect_handlers", build)
    monkeypatch.setattr(factory, "MultiLocalAbstractCoreLLMClient", FakeClient)
    monkeypatch.setattr(factory, "RemoteAbstractCoreLLMClient", FakeClient)
    monkeypatch.setattr(factory, "AbstractCoreToolExecutor", FakeExecutor)
    monkeypatch.setattr(factory, "AbstractCoreChatSummarizer", FakeSummarizer)
    return seen


@pytest.fixture(params=["local", "remote", "hybrid"])
def make(
    request: pytest.FixtureRequest, asked: list[str], handlers_of: list[dict[str, Any]]
) -> Callable[..., Runtime]:
    """Each factory over given stores, with its required arguments given."""
    name = request.param
    function: Make = getattr(factory, f"create_{name}_runtime")
    required = LOCAL if name == "local" else REMOTE
    return lambda **more: function(**{**required, **more})


# -- stores -------------------------------------------------------------------------------------


def test_everything_in_memory(make: Make, handlers_of: list[dict[str, Any]]) -> None:
    runtime = make()
    assert isinstance(runtime.run_store, InMemoryRunStore)
    assert isinstance(runtime.ledger_store, ObservableLedgerStore)
    assert isinstance(runtime.artifact_store, InMemoryArtifactStore)
    assert set(handlers_of[0]) == {"llm", "tools", "artifact_store", "run_store"}
    assert handlers_of[0]["run_store"] is runtime.run_store
    assert handlers_of[0]["artifact_store"] is runtime.artifact_store
    assert handlers_of[0]["llm"] is runtime._abstractcore_llm_client  # type: ignore[attr-defined]


@pytest.mark.weakness("spec/04 §16.10")
def test_a_store_given_alone_is_used(make: Make) -> None:
    runs, ledger = InMemoryRunStore(), ObservableLedgerStore(InMemoryLedgerStore())
    assert make(run_store=runs).run_store is runs
    assert make(ledger_store=ledger).ledger_store is ledger


def test_a_plain_ledger_is_made_observable(make: Make) -> None:
    ledger, artifacts = InMemoryLedgerStore(), InMemoryArtifactStore()
    runtime = make(run_store=InMemoryRunStore(), ledger_store=ledger, artifact_store=artifacts)
    assert isinstance(runtime.ledger_store, ObservableLedgerStore)
    assert runtime.artifact_store is artifacts
    seen: list[dict[str, Any]] = []
    runtime.subscribe_ledger(seen.append)
    run_id = runtime.start(workflow=FLOW)
    runtime.tick(workflow=FLOW, run_id=run_id)
    assert len(seen) == len(ledger.list(run_id)) > 0


@pytest.mark.parametrize(("name", "required"), [("local", LOCAL), ("remote", REMOTE)])
@pytest.mark.usefixtures("asked", "handlers_of")
def test_files(tmp_path: Path, name: str, required: dict[str, str]) -> None:
    base = tmp_path / "a" / "b"
    function: Make = getattr(factory, f"create_{name}_file_runtime")
    runtime = function(base_dir=str(base), **required)
    assert base.is_dir()
    assert isinstance(runtime.run_store, JsonFileRunStore)
    assert isinstance(runtime.ledger_store._inner, JsonlLedgerStore)
    assert isinstance(runtime.artifact_store, FileArtifactStore)
    run_id = runtime.start(workflow=FLOW)
    runtime.tick(workflow=FLOW, run_id=run_id)
    again = function(base_dir=base, **required)
    assert again.get_state(run_id).output == {"ok": True}


# -- what all modes take ------------------------------------------------------------------------


def done(run: Any, context: Any) -> StepPlan:
    return StepPlan(node_id="done", complete_output={"ok": True})


FLOW = WorkflowSpec(workflow_id="flow", entry_node="done", nodes={"done": done})


def test_the_same_options_everywhere(make: Make) -> None:
    context, policy, config = object(), NoRetryPolicy(), RuntimeConfig(max_iterations=3)
    hooks = Hooks(node_errors="fail", grounding="off")
    mine = lambda run, effect: EffectOutcome.completed({"mine": True})  # noqa: E731
    runtime = make(
        context=context,
        effect_policy=policy,
        config=config,
        hooks=hooks,
        extra_effect_handlers={EffectType.LLM_CALL: mine},
    )
    assert runtime.effect_policy is policy
    assert runtime.config.max_iterations == 3
    assert runtime.hooks is hooks
    assert runtime._context is context

    def ask(run: Any, context: Any) -> StepPlan:
        effect = Effect(EffectType.LLM_CALL, {"prompt": "x"}, "answer")
        return StepPlan(node_id="ask", effect=effect, next_node="done")

    flow = WorkflowSpec(workflow_id="asks", entry_node="ask", nodes={"ask": ask, "done": done})
    run_id = runtime.start(workflow=flow)
    assert runtime.tick(workflow=flow, run_id=run_id).vars["answer"] == {"mine": True}


def test_signatures_are_keyword_only_and_the_contracts() -> None:
    common = {"model", "context"}
    stores = {"run_store", "ledger_store", "artifact_store"}
    remote = {"server_base_url", "headers", "timeout_s"}
    local = {"provider", "llm_kwargs", "tool_timeout_s", "config"}
    wanted = {
        "local": common | stores | local | {"tool_executor", "effect_policy", "extra_effect_handlers"},
        "remote": common | stores | remote | {"tool_executor"},
        "hybrid": common | stores | remote | {"tool_timeout_s"},
        "local_file": common | local | {"base_dir"},
        "remote_file": common | remote | {"base_dir"},
    }
    for name, names in wanted.items():
        parameters = inspect.signature(getattr(factory, f"create_{name}_runtime")).parameters
        assert names <= set(parameters)
        assert {parameter.kind for parameter in parameters.values()} == {inspect.Parameter.KEYWORD_ONLY}


@pytest.mark.parametrize("choice", ["auto", "off"])
def test_grounding_off_is_off_in_the_client_too(make: Make, choice: Any) -> None:
    runtime = make(hooks=Hooks(grounding=choice))
    assert getattr(runtime._abstractcore_llm_client, "grounding", True) is (choice != "off")  # type: ignore[attr-defined]


# -- timeouts -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("handlers_of")
def test_configured_timeouts_are_asked_for_when_a_runtime_is_made(asked: list[str]) -> None:
    client: Any = factory.create_local_runtime(**LOCAL)._abstractcore_llm_client  # type: ignore[attr-defined]
    assert client.keywords == {**LOCAL, "llm_kwargs": {"timeout": 111.0}}
    assert asked == ["llm", "tool"]


@pytest.mark.usefixtures("asked", "handlers_of")
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"timeout": 5, "a": 1}, {"timeout": 5, "a": 1}),
        ({"timeout": None}, {"timeout": None}),
        ({"a": 1}, {"timeout": 111.0, "a": 1}),
    ],
)
def test_a_timeout_in_llm_kwargs_stays(given: dict[str, Any], wanted: dict[str, Any]) -> None:
    before = dict(given)
    runtime = factory.create_local_runtime(**LOCAL, llm_kwargs=given)
    assert runtime._abstractcore_llm_client.keywords["llm_kwargs"] == wanted  # type: ignore[attr-defined]
    assert given == before


def test_the_constants_where_abstractcore_can_not_say(
    monkeypatch: pytest.MonkeyPatch, asked: list[str], handlers_of: list[dict[str, Any]]
) -> None:
    def broken() -> Any:
        raise RuntimeError("no configuration")

    monkeypatch.setattr(sys.modules["abstractcore.config.manager"], "get_config_manager", broken)
    runtime = factory.create_local_runtime(**LOCAL)
    assert runtime._abstractcore_llm_client.keywords["llm_kwargs"] == {"timeout": 7200.0}  # type: ignore[attr-defined]
    assert handlers_of[0]["tools"].timeouts[-1] == 7200.0
    monkeypatch.setitem(sys.modules, "abstractcore.config", None)
    runtime = factory.create_remote_runtime(**REMOTE)
    assert runtime._abstractcore_llm_client.keywords["timeout_s"] == 7200.0  # type: ignore[attr-defined]


@pytest.mark.usefixtures("handlers_of")
def test_remote_asks_only_without_a_timeout(asked: list[str]) -> None:
    runtime = factory.create_remote_runtime(**REMOTE, timeout_s=5, headers={"a": "b"})
    assert asked == []
    client: Any = runtime._abstractcore_llm_client  # type: ignore[attr-defined]
    assert client.keywords == {**REMOTE, "timeout_s": 5, "headers": {"a": "b"}}
    client = factory.create_remote_runtime(**REMOTE)._abstractcore_llm_client  # type: ignore[attr-defined]
    assert client.keywords["timeout_s"] == 111.0


@pytest.mark.parametrize(
    ("given", "llm_s", "tool_s", "asks"),
    [
        ({}, 111.0, 22.0, True),
        ({"timeout_s": 5}, 5, 22.0, True),
        ({"tool_timeout_s": 6}, 111.0, 6, True),
        ({"timeout_s": 5, "tool_timeout_s": 6}, 5, 6, False),
    ],
)
def test_hybrid_timeouts(
    asked: list[str],
    handlers_of: list[dict[str, Any]],
    given: dict[str, float],
    llm_s: float,
    tool_s: float,
    asks: bool,
) -> None:
    runtime = factory.create_hybrid_runtime(**REMOTE, **given)
    assert runtime._abstractcore_llm_client.keywords["timeout_s"] == llm_s  # type: ignore[attr-defined]
    assert handlers_of[0]["tools"].timeouts[-1] == tool_s
    assert bool(asked) is asks


# -- tools --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["local", "hybrid"])
@pytest.mark.usefixtures("asked")
def test_abstractcores_tools_by_default(name: str, handlers_of: list[dict[str, Any]]) -> None:
    function: Make = getattr(factory, f"create_{name}_runtime")
    function(**(LOCAL if name == "local" else REMOTE), tool_timeout_s=6)
    assert isinstance(handlers_of[0]["tools"], FakeExecutor)
    assert handlers_of[0]["tools"].timeouts[-1] == 6


@pytest.mark.usefixtures("asked")
def test_remote_tools_are_the_hosts(handlers_of: list[dict[str, Any]]) -> None:
    factory.create_remote_runtime(**REMOTE)
    assert isinstance(handlers_of[0]["tools"], PassthroughToolExecutor)


def test_the_callers_executor_keeps_its_timeout(make: Make, handlers_of: list[dict[str, Any]]) -> None:
    executor = FakeExecutor(timeout_s=3)
    make(tool_executor=executor)
    assert handlers_of[0]["tools"] is executor
    assert executor.timeouts == [3]
    make(tool_executor=executor, tool_timeout_s=6)
    assert executor.timeouts == [3, 6]


def test_an_executor_that_can_not_be_told(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    class Stubborn(FakeExecutor):
        def set_timeout_s(self, timeout_s: float | None) -> None:
            raise ValueError("never")

    make(tool_executor=Stubborn(), tool_timeout_s=6)
    assert "Stubborn refused a timeout of 6 s" in caplog.text
    make(tool_executor=PassthroughToolExecutor(), tool_timeout_s=6)
    make(tool_executor=MappingToolExecutor({}), tool_timeout_s=6)


# -- configuration and summariser ---------------------------------------------------------------


@pytest.mark.usefixtures("asked", "handlers_of")
def test_a_local_runtime_knows_its_model() -> None:
    runtime = factory.create_local_runtime(**LOCAL)
    assert (runtime.config.provider, runtime.config.model) == ("Ollama", "qwen")
    assert runtime.config.model_capabilities == FakeClient.capabilities
    client: Any = runtime._abstractcore_llm_client  # type: ignore[attr-defined]
    assert runtime.chat_summarizer == FakeSummarizer(llm=client._llm, max_tokens=-1, max_output_tokens=-1)


@pytest.mark.usefixtures("asked", "handlers_of")
def test_a_local_runtime_with_a_configuration() -> None:
    config = RuntimeConfig(max_tokens=500, model_capabilities={"own": 1})
    runtime = factory.create_local_runtime(**LOCAL, config=config)
    assert runtime.config == config.with_capabilities(FakeClient.capabilities)
    assert runtime.config.provider is None
    assert (runtime.chat_summarizer.max_tokens, runtime.chat_summarizer.max_output_tokens) == (500, -1)


@pytest.mark.usefixtures("asked", "handlers_of")
def test_a_client_that_knows_nothing_of_its_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeClient, "capabilities", None)
    assert factory.create_local_runtime(**LOCAL).config.model_capabilities == {}


@pytest.mark.parametrize("name", ["remote", "hybrid"])
@pytest.mark.usefixtures("asked", "handlers_of")
def test_a_remote_runtime_has_no_summariser(name: str) -> None:
    function: Make = getattr(factory, f"create_{name}_runtime")
    runtime = function(**REMOTE)
    assert runtime.chat_summarizer is None
    assert runtime.config == RuntimeConfig()


def test_a_host_s_own_client_needs_no_abstractcore(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    monkeypatch.setitem(sys.modules, "abstractcore.processing", None)
    monkeypatch.setattr(factory, "MultiLocalAbstractCoreLLMClient", FakeClient)
    runtime = factory.create_local_runtime(provider="own", model="m")
    assert runtime._chat_summarizer is None
    assert runtime.config.model_capabilities == FakeClient.capabilities
    assert "no chat summariser: AbstractCore is not installed" in caplog.text
