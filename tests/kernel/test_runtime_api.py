"""Construction, start, tick, resume and inspection (`spec/01 §8.1`, §8.2, §9)."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.runtime import (
    DefaultRunContext,
    EffectOutcome,
    Runtime,
    _ensure_tool_calls_have_runtime_ids,
    utc_now,
    utc_now_iso,
)
from abstractruntime.core.spec import RunContext
from abstractruntime.storage.artifact_base import CorruptArtifactError
from abstractruntime.storage.artifacts import FileArtifactStore, InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .flows import asks, done, flow, goes
from .kernel import Clock, Kernel
from .plain_stores import BareRunStore, PlainLedgerStore

ASK = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
STEPS = flow(a=goes("b"), b=goes("c"), c=goes("done"), done=done)


class Falsy(dict[str, Any]):
    """An empty registry: falsy, and meant."""


def test_constructor_keeps_what_it_is_given() -> None:
    given: dict[str, Any] = {
        "run_store": InMemoryRunStore(),
        "ledger_store": InMemoryLedgerStore(),
        "workflow_registry": Falsy(),
        "artifact_store": object(),
        "effect_policy": DefaultEffectPolicy(),
        "config": RuntimeConfig(max_iterations=3),
        "chat_summarizer": object(),
    }
    runtime = Runtime(**given)
    for name, value in given.items():
        assert getattr(runtime, name) is value
    assert runtime._chat_summarizer is given["chat_summarizer"]
    with pytest.raises(AttributeError):
        runtime.config = RuntimeConfig()  # type: ignore[misc]
    with pytest.raises(TypeError):
        Runtime(InMemoryRunStore(), InMemoryLedgerStore())  # type: ignore[call-arg, misc]


def test_defaults() -> None:
    runtime = Runtime(run_store=InMemoryRunStore(), ledger_store=InMemoryLedgerStore())
    assert isinstance(runtime.effect_policy, DefaultEffectPolicy)
    assert runtime.config == RuntimeConfig()
    assert (runtime.workflow_registry, runtime.artifact_store) == (None, None)


def test_setters(kernel: Kernel) -> None:
    registry, artifacts, policy = {}, object(), DefaultEffectPolicy()
    kernel.runtime.set_workflow_registry(registry)
    kernel.runtime.set_artifact_store(artifacts)
    kernel.runtime.set_effect_policy(policy)
    assert kernel.runtime.workflow_registry is registry
    assert kernel.runtime.artifact_store is artifacts
    assert kernel.runtime.effect_policy is policy


def test_context_is_handed_on_unchanged(kernel: Kernel) -> None:
    class Mine:
        def now_iso(self) -> str:
            return "soon"

    mine, seen = Mine(), []

    def node(run: RunState, context: RunContext) -> StepPlan:
        seen.append(context)
        return StepPlan("a", complete_output={"now": context.now_iso()})

    assert kernel.use(context=mine).go(flow(a=node)).output == {"now": "soon"}
    assert seen == [mine]


def test_default_context_tells_the_time_of_the_environment() -> None:
    clock = Clock()
    kernel = Kernel(InMemoryRunStore(), InMemoryLedgerStore(), clock)
    state = kernel.go(flow(a=lambda run, context: StepPlan("a", complete_output={"now": context.now_iso()})))
    assert state.output is not None
    assert state.output["now"].startswith("2026-01-02T03:04:05.")
    assert DefaultRunContext().now_iso() <= utc_now_iso()


def test_start_seeds_vars(kernel: Kernel) -> None:
    run_id = kernel.start(ASK, {"x": 1}, actor_id="actor", session_id="s", parent_run_id="p")
    state = kernel.state(run_id)
    assert state.vars == {"x": 1, "_limits": RuntimeConfig().to_limits_dict(), "_runtime": {}}
    assert (state.status, state.current_node, state.waiting) == (RunStatus.RUNNING, "a", None)
    assert (state.actor_id, state.session_id, state.parent_run_id) == ("actor", "s", "p")
    assert len(run_id) == 36
    assert kernel.ledger(run_id) == []


def test_start_seeds_routing_from_the_config(kernel: Kernel) -> None:
    capabilities = {"tool_support": " native ", "max_tokens": 1000}
    kernel.use(config=RuntimeConfig(provider=" p ", model="m", model_capabilities=capabilities))
    assert kernel.state(kernel.start(ASK)).vars["_runtime"] == {
        "provider": "p",
        "model": "m",
        "tool_support": "native",
        "supports_native_tools": True,
    }
    given = {"_runtime": {"provider": "mine", "tool_support": "x"}, "_limits": None}
    state = kernel.state(kernel.start(ASK, given))
    assert state.vars["_runtime"] == {
        "provider": "mine",
        "model": "m",
        "tool_support": "x",
        "supports_native_tools": True,
    }
    assert state.vars["_limits"] is None


@pytest.mark.parametrize("runtime_vars", [5, None, []])
def test_start_replaces_a_runtime_namespace_that_is_no_object(kernel: Kernel, runtime_vars: Any) -> None:
    assert kernel.state(kernel.start(ASK, {"_runtime": runtime_vars})).vars["_runtime"] == {}


@pytest.mark.weakness("spec/01 §19.21")
def test_start_shares_nothing_with_its_caller(kernel: Kernel) -> None:
    given = {"_runtime": {}, "nested": {"a": 1}}
    kernel.use(config=RuntimeConfig(provider="p"))
    run_id = kernel.start(ASK, given)
    given["nested"]["a"] = 2
    assert given["_runtime"] == {}
    assert kernel.state(run_id).vars["nested"] == {"a": 1}


def test_entry_node_is_not_checked_by_start(kernel: Kernel) -> None:
    workflow = flow(a=done)
    nowhere = type(workflow)("wf", "nowhere", {})
    run_id = kernel.start(nowhere)
    with pytest.raises(KeyError, match="Unknown node_id 'nowhere' in workflow 'wf'"):
        kernel.tick(nowhere, run_id)
    assert kernel.state(run_id).status is RunStatus.RUNNING


@pytest.mark.parametrize(("budget", "node"), [(0, "a"), (1, "b"), (2, "c"), (3, "done")])
def test_budget(kernel: Kernel, budget: int, node: str) -> None:
    state = kernel.tick(STEPS, kernel.start(STEPS), max_steps=budget)
    assert (state.status, state.current_node) == (RunStatus.RUNNING, node)


def test_default_budget_is_a_hundred_steps(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ANSWER_USER, lambda run: {"message": "hi"}, then="a"))
    seen = []

    def node(run: RunState, context: RunContext) -> StepPlan:
        seen.append(1)
        return StepPlan("a", next_node="a")

    workflow = flow(a=node)
    state = kernel.runtime.tick(workflow=workflow, run_id=kernel.start(workflow))
    assert (len(seen), state.status) == (100, RunStatus.RUNNING)


def test_terminal_and_waiting_runs_are_returned_unchanged(kernel: Kernel) -> None:
    waiting = kernel.go(ASK)
    finished = kernel.go(flow("other", done=done))
    for workflow, before in ((ASK, waiting), (flow("other", done=done), finished)):
        records = kernel.ledger(before.run_id)
        after = kernel.tick(workflow, before.run_id)
        assert (after.status, after.updated_at) == (before.status, before.updated_at)
        assert kernel.ledger(before.run_id) == records


@pytest.mark.parametrize(
    "call",
    [
        lambda k: k.tick(ASK, "nope"),
        lambda k: k.resume(ASK, "nope", {}),
        lambda k: k.runtime.get_state("nope"),
        lambda k: k.runtime.cancel_run("nope"),
        lambda k: k.runtime.pause_run("nope"),
        lambda k: k.runtime.resume_run("nope"),
        lambda k: k.runtime.update_limits("nope", {}),
        lambda k: k.runtime.get_limit_status("nope"),
        lambda k: k.runtime.get_node_traces("nope"),
        lambda k: k.runtime.get_node_trace("nope", "a"),
        lambda k: k.runtime.list_evidence("nope"),
    ],
)
def test_unknown_run(kernel: Kernel, call: Any) -> None:
    with pytest.raises(KeyError) as caught:
        call(kernel)
    assert str(caught.value) == "Unknown run_id: nope"


def test_ledger_of_an_unknown_run_is_empty(kernel: Kernel) -> None:
    assert kernel.ledger("nope") == []


def test_another_runs_workflow_is_refused(kernel: Kernel) -> None:
    run_id = kernel.go(ASK).run_id
    other = flow("other", a=done)
    with pytest.raises(InvalidInputError, match="belongs to workflow 'wf', not 'other'"):
        kernel.tick(other, run_id)
    with pytest.raises(InvalidInputError, match="belongs to workflow 'wf', not 'other'"):
        kernel.resume(other, run_id, {})
    assert kernel.state(run_id).status is RunStatus.WAITING
    assert "resume" not in kernel.kinds(run_id)


def test_node_without_effect_and_next_node(kernel: Kernel) -> None:
    for plan in (StepPlan("alias"), StepPlan("alias", next_node="")):
        workflow = flow(a=lambda run, context, plan=plan: plan)
        run_id = kernel.start(workflow)
        with pytest.raises(ValueError, match="Node 'alias' returned no effect and no next_node"):
            kernel.tick(workflow, run_id)
        assert kernel.state(run_id).status is RunStatus.RUNNING
        assert kernel.ledger(run_id) == []


def test_node_that_raises(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        run.vars["half"] = "done"
        raise OSError("disk on fire")

    workflow = flow(a=node)
    run_id = kernel.start(workflow)
    with pytest.raises(OSError, match="disk on fire"):
        kernel.tick(workflow, run_id)
    state = kernel.state(run_id)
    assert (state.status, "half" in state.vars, kernel.ledger(run_id)) == (RunStatus.RUNNING, False, [])
    good = flow(a=done)
    assert kernel.tick(good, run_id).status is RunStatus.COMPLETED  # nobody drives it any more


def test_node_that_returns_no_plan(kernel: Kernel) -> None:
    workflow = flow(a=lambda run, context: None)  # type: ignore[arg-type, return-value]
    run_id = kernel.start(workflow)
    with pytest.raises(InvalidInputError, match="Node 'a' returned NoneType; a node must return a StepPlan"):
        kernel.tick(workflow, run_id)


def test_vars_changed_by_a_node_are_durable(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        run.vars["list"] = [*run.vars.get("list", []), 1]
        return StepPlan("a", next_node="a")

    workflow = flow(a=node)
    run_id = kernel.start(workflow)
    kernel.tick(workflow, run_id, max_steps=3)
    assert kernel.state(run_id).vars["list"] == [1, 1, 1]


def test_returned_state_is_the_callers_own(kernel: Kernel) -> None:
    state = kernel.go(ASK)
    state.vars["mine"] = 1
    assert "mine" not in kernel.state(state.run_id).vars


# -- resume ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [None, 0, "", [], {"a": {"b": 1}}, "text", 1.5])
def test_resume_stores_any_json_value(kernel: Kernel, payload: Any) -> None:
    run_id = kernel.go(ASK).run_id
    state = kernel.resume(ASK, run_id, payload)
    assert state.output == {"out": payload}
    assert state.vars["out"] == payload


def test_resume_checks_the_key(kernel: Kernel) -> None:
    state = kernel.go(ASK)
    key = f"user:{state.run_id}:a"
    with pytest.raises(ValueError, match=f"wait_key mismatch: expected '{key}', got 'x'"):
        kernel.resume(ASK, state.run_id, {}, wait_key="x")
    assert kernel.resume(ASK, state.run_id, {}, wait_key=key).status is RunStatus.COMPLETED


@pytest.mark.parametrize("workflow", [flow(done=done), flow(a=goes("a"))])
def test_resume_needs_a_waiting_run(kernel: Kernel, workflow: Any) -> None:
    run_id = kernel.start(workflow)
    kernel.tick(workflow, run_id, max_steps=1)
    with pytest.raises(ValueError, match=r"^Run is not waiting$"):
        kernel.resume(workflow, run_id, {}, wait_key="whatever")


def test_resume_without_result_key_shows_the_payload_in_the_ledger_only(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}, key=None), done=done)
    run_id = kernel.go(workflow).run_id
    state = kernel.resume(workflow, run_id, {"text": "yes"})
    assert "out" not in state.vars
    assert kernel.ledger(run_id)[2]["effect"]["payload"]["payload"] == {"text": "yes"}


def test_resume_without_steps_executes_nothing(kernel: Kernel) -> None:
    run_id = kernel.go(ASK).run_id
    state = kernel.resume(ASK, run_id, 1, max_steps=0)
    assert (state.status, state.current_node, state.waiting) == (RunStatus.RUNNING, "done", None)
    assert kernel.state(run_id).vars["out"] == 1


def test_resume_may_override_the_node(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}, then=None), b=goes("done"), done=done)
    run_id = kernel.go(workflow).run_id
    assert kernel.resume(workflow, run_id, 1, override_node="b").output == {"out": 1}


def test_waiting_node_is_not_run_again(kernel: Kernel) -> None:
    runs = []

    def node(run: RunState, context: RunContext) -> StepPlan:
        runs.append(1)
        return StepPlan("a", Effect(EffectType.ASK_USER, {"prompt": "?"}), "done")

    workflow = flow(a=node, done=done)
    run_id = kernel.go(workflow).run_id
    kernel.resume(workflow, run_id, {})
    assert runs == [1]


@pytest.mark.parametrize("then", [None, ""])
def test_blank_next_node_makes_a_terminal_wait(kernel: Kernel, then: str | None) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}, then=then))
    state = kernel.go(workflow)
    assert state.waiting is not None
    assert state.waiting.resume_to_node is None
    assert kernel.resume(workflow, state.run_id, 3).output == {"success": True, "result": 3}


def test_a_fresh_process_resumes_the_same(kernel: Kernel) -> None:
    state = kernel.go(ASK)
    kernel.use()
    assert kernel.resume(ASK, state.run_id, "hello").output == {"out": "hello"}


def test_resume_shares_nothing_with_its_caller(kernel: Kernel) -> None:
    payload = {"items": [1]}
    run_id = kernel.go(ASK).run_id
    state = kernel.resume(ASK, run_id, payload, max_steps=0)
    payload["items"].append(2)
    state.vars["out"]["items"].append(3)
    assert payload == {"items": [1, 2]}
    assert kernel.state(run_id).vars["out"] == {"items": [1]}
    assert kernel.ledger(run_id)[2]["effect"]["payload"]["payload"] == {"items": [1]}


class FailingLedger(PlainLedgerStore):
    """Refuses one kind of record."""

    def __init__(self, refused: str) -> None:
        super().__init__()
        self.refused = refused

    def append(self, record: Any) -> None:
        kind = record.effect["type"] if record.effect else "completion"
        if (record.idempotency_key or "").startswith("system:"):
            kind = "status"
        if self.refused in (kind, record.status.value):
            raise OSError("ledger is full")
        super().append(record)


@pytest.mark.weakness("spec/02 U-7")
@pytest.mark.parametrize("refused", ["resume", "status"])
def test_a_best_effort_record_that_fails_does_not_fail_the_call(refused: str) -> None:
    kernel = Kernel(BareRunStore(), FailingLedger(refused))
    run_id = kernel.go(ASK).run_id
    assert kernel.resume(ASK, run_id, 1).output == {"out": 1}


@pytest.mark.parametrize("refused", ["started", "waiting", "completion"])
def test_other_records_that_fail_fail_the_call(refused: str) -> None:
    kernel = Kernel(BareRunStore(), FailingLedger(refused))
    workflow = flow(done=done) if refused == "completion" else ASK
    run_id = kernel.start(workflow)
    with pytest.raises(OSError, match="ledger is full"):
        kernel.tick(workflow, run_id)


def test_a_checkpoint_that_fails_fails_the_call(kernel: Kernel) -> None:
    run_id = kernel.start(STEPS)

    def refuse(run: RunState) -> None:
        raise OSError("no space left")

    kernel.run_store.save = refuse
    with pytest.raises(OSError, match="no space left"):
        kernel.tick(STEPS, run_id)


# -- inspection -----------------------------------------------------------------------------------


def test_subscription_needs_a_ledger_that_can(kernel: Kernel) -> None:
    with pytest.raises(
        RuntimeError, match=r"^Configured LedgerStore does not support subscriptions\..*"
    ) as e:
        kernel.runtime.subscribe_ledger(print)
    assert "ObservableLedgerStore" in str(e.value)


def test_subscription_delegates() -> None:
    class Observable(PlainLedgerStore):
        def subscribe(self, callback: Any, *, run_id: str | None = None) -> Any:
            self.asked = (callback, run_id)
            return lambda: "stopped"

    ledger = Observable()
    kernel = Kernel(BareRunStore(), ledger)
    assert kernel.runtime.subscribe_ledger(print, run_id="r")() == "stopped"
    assert ledger.asked == (print, "r")


def test_evidence_spans(kernel: Kernel) -> None:
    spans = [{"kind": "evidence", "artifact_id": "1"}, {"kind": "note"}, "text", {"kind": "evidence"}]
    run_id = kernel.start(ASK, {"_runtime": {"memory_spans": spans}})
    found = kernel.runtime.list_evidence(run_id)
    assert found == [{"kind": "evidence", "artifact_id": "1"}, {"kind": "evidence"}]
    assert kernel.runtime.list_evidence(kernel.start(ASK)) == []


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_load_evidence_where_there_is_none(kernel: Kernel, kind: str, tmp_path: Path) -> None:
    store = InMemoryArtifactStore() if kind == "memory" else FileArtifactStore(tmp_path)
    kernel.runtime.set_artifact_store(store)
    others = [store.store_text("no JSON"), store.store(b"\xff\x00"), store.store_json([1])]
    for name in (*(metadata.artifact_id for metadata in others), "missing", "", " ", "../etc", "a/b", "ä"):
        assert kernel.runtime.load_evidence(name) is None
    stored = store.store_json({"a": 1})
    assert kernel.runtime.load_evidence(stored.artifact_id) == {"a": 1}


def test_damaged_evidence_is_not_missing(kernel: Kernel, tmp_path: Path) -> None:
    store = FileArtifactStore(tmp_path)
    kernel.runtime.set_artifact_store(store)
    stored = store.store_json({"a": 1})
    (blob,) = tmp_path.rglob(f"{stored.blob_id}*")
    blob.write_bytes(b"{}")
    with pytest.raises(CorruptArtifactError):
        kernel.runtime.load_evidence(stored.artifact_id)


def test_load_evidence(kernel: Kernel) -> None:
    class Artifacts:
        def load_json(self, artifact_id: str) -> Any:
            return {"object": {"a": 1}, "list": [1]}.get(artifact_id)

    with pytest.raises(RuntimeError, match="Evidence requires an ArtifactStore;"):
        kernel.runtime.load_evidence("object")
    kernel.runtime.set_artifact_store(Artifacts())
    assert kernel.runtime.load_evidence("object") == {"a": 1}
    assert kernel.runtime.load_evidence("list") is None
    assert kernel.runtime.load_evidence("missing") is None


def test_limits(kernel: Kernel) -> None:
    run_id = kernel.go(ASK).run_id
    updates = {"max_tokens": 100, "estimated_tokens_used": 85, "current_iteration": 25, "unknown": 1}
    kernel.runtime.update_limits(run_id, updates)
    status = kernel.runtime.get_limit_status(run_id)
    assert status["iterations"] == {"current": 25, "max": 25, "pct": 100.0, "warning": True}
    assert (status["tokens"]["pct"], status["tokens"]["warning"]) == (85.0, True)
    state = kernel.state(run_id)
    assert "unknown" not in state.vars["_limits"]
    warnings = [(w.limit_type, w.status, w.pct) for w in kernel.runtime.check_limits(state)]
    assert warnings == [("iterations", "exceeded", 100.0), ("tokens", "warning", 85.0)]


def test_limits_never_stop_a_run(kernel: Kernel) -> None:
    run_id = kernel.start(STEPS)
    kernel.runtime.update_limits(run_id, {"current_iteration": 99})
    assert kernel.tick(STEPS, run_id).status is RunStatus.COMPLETED
    kernel.runtime.update_limits(run_id, {"max_tokens": 1})  # any status will do
    assert kernel.state(run_id).vars["_limits"]["max_tokens"] == 1


def test_helper_for_tool_call_ids_keeps_its_name() -> None:
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": [{"name": "ls"}]})
    named = _ensure_tool_calls_have_runtime_ids(effect=effect, idempotency_key="k")
    assert named.payload["tool_calls"][0]["runtime_call_id"] == "rtcall_k_1"


def test_runtimes_own_clock_and_ids() -> None:
    numbers = iter(range(100))
    environment = Environment(now=Clock(), new_id=lambda: f"id-{next(numbers)}")
    kernel = Kernel(InMemoryRunStore(), InMemoryLedgerStore()).use(environment=environment)
    state = kernel.go(ASK)
    assert state.run_id == "id-0"
    assert state.created_at.startswith("2026-01-02T03:04:05.")
    assert kernel.ledger("id-0")[0]["step_id"] == "id-1"


def test_outcome_constructors() -> None:
    assert EffectOutcome.completed() == EffectOutcome("completed")
    assert EffectOutcome.failed("e") == EffectOutcome("failed", None, None, "e")


def test_ids_are_random_uuids() -> None:
    ids = {Environment().new_id() for _ in range(200)}
    assert len(ids) == 200
    for text in ids:
        parsed = UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 4, RFC_4122)


def test_time_as_text_is_the_time() -> None:
    for _ in range(100):
        before, text, after = utc_now(), utc_now_iso(), utc_now()
        assert before <= datetime.fromisoformat(text) + timedelta(microseconds=1)
        assert datetime.fromisoformat(text) <= after
        assert len(text) == len("2026-01-02T03:04:05.678901+00:00")
