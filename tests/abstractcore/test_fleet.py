"""LLM and tool calls on a fleet's effects queue, the workers in the test's own hands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from abstractruntime import App, Effect, EffectType, RetryPolicy, RunState, StepPlan, WorkflowSpec
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.errors import AppError
from abstractruntime.core.models import RunStatus
from abstractruntime.integrations.abstractcore._clients.idempotency import carry_idempotency_keys, request_key
from abstractruntime.integrations.abstractcore.fleet import declare_effects, per_provider
from abstractruntime.integrations.abstractcore.llm_client import RemoteAbstractCoreLLMClient
from abstractruntime.integrations.abstractcore.tool_executor import (
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.checkpoints import Task
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from examples.agent.outside import Outside
from tests.docs.pages import DOCS, blocks_of
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers.client import Client
from workers.hints import Hint
from workers.settings import Settings


class Model:
    """Answers in order; notes what it was asked and in which attempt."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str] = []

    def generate(self, **asked: Any) -> dict[str, Any]:
        self.asked.append(asked)
        self.keys.append(current_effect().idempotency_key)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {**answer}


class Fleet:
    """One database; `restart` gives new workers and a new client over it."""

    def __init__(self, url: str, app: App) -> None:
        self.settings = Settings(
            database_url=url, redis_url="redis://127.0.0.1:1/0", publish_timeout=0.2, lease=0.3
        )
        self._database = open_database(url)
        migrate.upgrade(self._database)
        self.restart(app)

    def restart(self, app: App) -> None:
        store = SqlCheckpointStore(self._database)
        self.pump = Pump(self.settings, app, store)
        self.client = Client(app, settings=self.settings, store=store, dispatcher=self.pump)

    def close(self) -> None:
        self.client.close()
        self._database.close()


@pytest.fixture
def open_fleet(tmp_path: Path) -> Iterator[Callable[[App], Fleet]]:
    opened: list[Fleet] = []

    def make(app: App) -> Fleet:
        opened.append(Fleet(f"sqlite:///{tmp_path / 'runs.db'}", app))
        return opened[-1]

    yield make
    for fleet in opened:
        fleet.close()


def _one_effect(kind: EffectType, payload: dict[str, Any]) -> WorkflowSpec:
    def ask(run: RunState, ctx: object) -> StepPlan:
        return StepPlan("ask", Effect(kind, {**payload}, "answer"), next_node="end")

    def end(run: RunState, ctx: object) -> StepPlan:
        return StepPlan("end", complete_output={"answer": run.vars["answer"]})

    return WorkflowSpec("flow", "ask", {"ask": ask, "end": end})


def _app(kind: EffectType, payload: dict[str, Any], **kwargs: Any) -> App:
    return App(workflows=[_one_effect(kind, payload)], **kwargs)


def _queues(fleet: Fleet) -> list[Task]:
    return [message.task for message in fleet.pump.sent if isinstance(message, Hint)]


def test_an_llm_call_runs_on_the_effects_queue(open_fleet: Callable[[App], Fleet]) -> None:
    made: list[Model] = []
    app = _app(EffectType.LLM_CALL, {"prompt": "Hello?"})

    def make() -> Model:
        made.append(Model({"content": "Hi"}, {"content": "Hi again"}))
        return made[-1]

    declare_effects(app, llm=make)
    fleet = open_fleet(app)
    runs = [fleet.client.start("flow") for _ in range(2)]
    assert made == []  # declaring and starting open nothing
    fleet.pump.run()
    answers = [fleet.client.get(run_id).output["answer"]["content"] for run_id in runs]  # type: ignore[index]
    assert answers == ["Hi", "Hi again"]
    assert len(made) == 1
    assert Task.EFFECT in _queues(fleet)
    assert len(set(made[0].keys)) == 2


def test_a_failed_call_is_a_timer_and_has_the_same_key(open_fleet: Callable[[App], Fleet]) -> None:
    policy = RetryPolicy(llm_max_attempts=2, backoff_base=0.0)
    app = _app(EffectType.LLM_CALL, {"prompt": "Hello?"}, policy=policy)
    model = Model(RuntimeError("overloaded"), {"content": "Hi"})
    declare_effects(app, llm=lambda: model)
    fleet = open_fleet(app)
    run_id = fleet.client.start("flow")

    def has_completed() -> bool:
        fleet.pump.run()
        fleet.pump.sweep()  # the timer is due in a moment, by the database's clock
        return fleet.client.get(run_id).status is RunStatus.COMPLETED

    eventually(has_completed, timeout=30, message="no second attempt")
    assert len(model.keys) == 2
    assert len(set(model.keys)) == 1
    statuses = [entry.record["status"] for entry in fleet.client.ledger(run_id)]
    assert statuses[:4] == ["started", "failed", "started", "completed"]


def test_tools_run_and_the_model_cannot_widen_the_allowlist(open_fleet: Callable[[App], Fleet]) -> None:
    used: list[str] = []

    def look(what: str) -> str:
        used.append(current_effect().idempotency_key)
        return f"seen {what}"

    def erase(what: str) -> str:
        raise AssertionError("not allowed")

    calls = [
        {"name": "erase", "arguments": {"what": "all"}, "call_id": "a", "allowed_tools": ["erase"]},
        {"name": "look", "arguments": {"what": "it", "allowed_tools": ["erase"]}, "call_id": "b"},
    ]
    app = _app(EffectType.TOOL_CALLS, {"tool_calls": calls, "allowed_tools": ["look"]})
    declare_effects(app, llm=Model, tools=lambda: MappingToolExecutor.from_tools([look, erase], timeout_s=30))
    fleet = open_fleet(app)
    run_id = fleet.client.start("flow")
    fleet.pump.run()
    output = fleet.client.get(run_id).output
    assert output is not None
    first, second = output["answer"]["results"]
    assert (first["success"], first["error"]) == (False, "Tool 'erase' is not allowed for this node")
    assert (second["success"], second["output"]) == (True, "seen it")
    assert len(used) == 1


def test_approval_is_answered_after_a_restart(open_fleet: Callable[[App], Fleet]) -> None:
    calls = [{"name": "pay", "arguments": {"amount": 5}, "call_id": "c1"}]

    def declare() -> App:
        app = _app(EffectType.TOOL_CALLS, {"tool_calls": calls})
        declare_effects(app, llm=Model, tools=lambda: PassthroughToolExecutor(mode="approval_required"))
        return app

    fleet = open_fleet(declare())
    run_id = fleet.client.start("flow")
    fleet.pump.run()
    fleet.client.close()
    fleet.restart(declare())
    waiting = fleet.client.get(run_id).waiting
    assert waiting is not None
    assert waiting.details is not None
    assert waiting.details["mode"] == "approval_required"
    assert waiting.details["tool_calls"][0]["arguments"] == {"amount": 5}
    result = {"call_id": "c1", "name": "pay", "success": True, "output": "paid", "error": None}
    fleet.client.respond(run_id, {"mode": "executed", "results": [result]})
    fleet.pump.run()
    run = fleet.client.get(run_id)
    assert run.output is not None
    assert run.output["answer"]["results"][0]["output"] == "paid"


def test_approval_is_answered_through_the_web_door_of_the_docs(open_fleet: Callable[[App], Fleet]) -> None:
    calls = [{"name": "pay", "arguments": {"amount": 5}, "call_id": "c1"}]
    app = _app(EffectType.TOOL_CALLS, {"tool_calls": calls})
    declare_effects(app, llm=Model, tools=lambda: PassthroughToolExecutor(mode="approval_required"))
    fleet = open_fleet(app)
    run_id = fleet.client.start("flow")
    fleet.pump.run()
    result = {"call_id": "c1", "name": "pay", "success": True, "output": "paid", "error": None}
    options = {"app": app, "settings": fleet.settings, "store": fleet.client.store, "dispatcher": fleet.pump}
    with TestClient(_door_of_the_docs()(**options)) as browser:
        asked = browser.get(f"/approvals/{run_id}").json()
        assert (asked["mode"], asked["tool_calls"][0]["arguments"]) == ("approval_required", {"amount": 5})
        assert browser.post(f"/approvals/{run_id}", json=[result]).status_code == 200
        assert browser.post(f"/approvals/{run_id}", json=[result]).status_code == 409
        assert browser.get("/approvals/nobody").status_code == 404
    fleet.pump.run()
    run = fleet.client.get(run_id)
    assert run.output is not None
    assert run.output["answer"]["results"][0]["output"] == "paid"


def _door_of_the_docs() -> Callable[..., Any]:
    blocks = [block for block in blocks_of(DOCS / "integrations/agents.md") if "def make_door" in block.code]
    namespace: dict[str, Any] = {}
    exec(blocks[0].code, namespace)
    make: Callable[..., Any] = namespace["make_door"]
    return make


def test_cancelling_a_run_ends_its_call_in_flight(
    open_fleet: Callable[[App], Fleet], caplog: pytest.LogCaptureFixture
) -> None:
    begun, may_end = Event(), Event()

    class Slow:
        def generate(self, **asked: Any) -> dict[str, Any]:
            begun.set()
            assert may_end.wait(60)
            return {"content": "too late"}

    app = _app(EffectType.LLM_CALL, {"prompt": "Hello?"})
    declare_effects(app, llm=Slow)
    fleet = open_fleet(app)
    run_id = fleet.client.start("flow")
    worker = Thread(target=fleet.pump.run)
    worker.start()
    try:
        assert begun.wait(30)
        fleet.client.cancel(run_id)
        eventually(lambda: not worker.is_alive(), timeout=30, message="the call is still waited for")
    finally:
        may_end.set()
        worker.join()
    run = fleet.client.get(run_id)
    assert run.status is RunStatus.CANCELLED
    assert "answer" not in run.vars
    said = f"llm_call of run {run_id}, which was abandoned, has answered"
    eventually(lambda: said in caplog.text, message="the late answer is dropped without a word")


def test_the_provider_of_a_call_is_what_its_limit_counts() -> None:
    run = RunState.new(workflow_id="flow", entry_node="ask")
    limit = per_provider(concurrency=2, default="openai")
    named = limit.demand(run, Effect(EffectType.LLM_CALL, {"provider": " Ollama "}))
    default = limit.demand(run, Effect(EffectType.LLM_CALL, {"prompt": "x"}))
    assert named is not None
    assert default is not None
    assert (named.key, default.key) == ("effect:provider:ollama", "effect:provider:openai")


def test_a_limit_needs_a_bound() -> None:
    with pytest.raises(AppError, match="concurrency"):
        per_provider()


def test_there_is_no_request_key_outside_of_effects() -> None:
    assert request_key("http://h/", b"{}") is None


def test_requests_carry_the_key_of_their_effect(open_fleet: Callable[[App], Fleet]) -> None:
    pytest.importorskip("httpx", reason="the remote client speaks HTTP through httpx")
    with Outside() as outside:
        Thread(target=outside.serve_forever, daemon=True).start()
        app = _app(EffectType.LLM_CALL, {"messages": [{"role": "user", "content": "Pay B-02."}]})
        remote = RemoteAbstractCoreLLMClient(server_base_url=outside.url, model="m")
        declare_effects(app, llm=lambda: remote)
        fleet = open_fleet(app)
        runs = [fleet.client.start("flow") for _ in range(2)]
        fleet.pump.run()
        done = outside.book.calls()["done"]
        remote.close()
        outside.shutdown()
    effects = {fleet.client.ledger(run_id)[0].record["idempotency_key"] for run_id in runs}
    assert {key.rpartition("-")[0] for key in done} == effects
    assert all(fleet.client.get(run_id).status is RunStatus.COMPLETED for run_id in runs)


def test_a_provider_without_an_http_client_is_left_alone() -> None:
    provider = SimpleNamespace(client=SimpleNamespace(model="in this process"))
    carry_idempotency_keys(provider)
    assert vars(provider.client) == {"model": "in this process"}


def test_an_http_client_is_told_once() -> None:
    provider = SimpleNamespace(client=SimpleNamespace(event_hooks={"request": [], "response": []}))
    carry_idempotency_keys(provider)
    carry_idempotency_keys(provider)
    assert len(provider.client.event_hooks["request"]) == 1
    assert provider.client.event_hooks["response"] == []
