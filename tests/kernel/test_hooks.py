"""Doors for integrations and hosts: payload transformers, node errors, additional records."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from typing import Any

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import compute_idempotency_key

from .flows import asks, done, flow, goes
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL


# -- payload transformers (spec/01 §11.4, row 23) -------------------------------------------------------


def grounded(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
    payload["prompt"] = f"[now] {payload['prompt']}"
    return payload


@pytest.mark.weakness("spec/01 §19.23")
def test_an_integration_transforms_payloads(kernel: Kernel) -> None:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({"ok": True}))
    kernel.use(effect_handlers={LLM: handler}, hooks=Hooks(payload_transformers={LLM: grounded}))
    given = {"prompt": "p"}
    workflow = flow(a=asks(LLM, lambda run: given), done=done)
    run_id = kernel.go(workflow, {"x": given}).run_id
    started, completed = kernel.ledger(run_id)[:2]
    for payload in (started["effect"]["payload"], completed["effect"]["payload"], calls[0]):
        assert payload == {"prompt": "[now] p"}
    (entry,) = kernel.runtime.get_node_trace(run_id, "a")["steps"]
    assert entry["effect"]["payload"] == {"prompt": "[now] p"}
    assert (given, kernel.state(run_id).vars["x"]) == ({"prompt": "p"}, {"prompt": "p"})
    effect = asks(LLM, given)(RunState(run_id, "wf", RunStatus.RUNNING, "a"), None).effect  # type: ignore[arg-type]
    assert effect is not None
    assert started["idempotency_key"] == compute_idempotency_key(run_id=run_id, node_id="a", effect=effect)


def test_a_reused_result_is_not_transformed(kernel: Kernel) -> None:
    seen: list[Any] = []

    def transform(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
        seen.append(payload)
        return payload

    kernel.use(
        effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({})},
        hooks=Hooks(payload_transformers={LLM: transform}),
    )
    same = {"prompt": "p"}
    kernel.go(flow(a=asks(LLM, same, then="b"), b=goes("c"), c=asks(LLM, same, then="a2"), a2=done))
    assert len(seen) == 2
    workflow = flow(a=asks(LLM, same, then="done"), done=done)
    run_id = kernel.start(workflow)
    kernel.tick(workflow, run_id, max_steps=1)
    run = kernel.run_store.load(run_id)
    run.current_node = "a"
    kernel.run_store.save(run)
    kernel.tick(workflow, run_id)
    assert len(seen) == 3


def test_a_transformer_that_raises_fails_the_effect(kernel: Kernel) -> None:
    def transform(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
        raise LookupError("no clock")

    handler, calls = counting(lambda run, effect: EffectOutcome.completed({}))
    kernel.use(effect_handlers={LLM: handler}, hooks=Hooks(payload_transformers={LLM: transform}))
    state = kernel.go(flow(a=asks(LLM, {}), done=done))
    assert state.error == "Effect failed after 1 attempts: Payload transformer raised exception: no clock"
    assert calls == []


@pytest.mark.weakness("spec/01 §19.23")
def test_an_llm_step_imports_no_integration() -> None:
    code = """
import sys
from abstractruntime import *
store, ledger = InMemoryRunStore(), InMemoryLedgerStore()
from abstractruntime.core.runtime import EffectOutcome
runtime = Runtime(run_store=store, ledger_store=ledger,
    effect_handlers={EffectType.LLM_CALL: lambda run, effect: EffectOutcome.completed({})})
workflow = WorkflowSpec("w", "a", {"a": lambda run, context: StepPlan("a", Effect(EffectType.LLM_CALL))})
before = set(sys.modules)
run_id = runtime.start(workflow=workflow)
assert runtime.tick(workflow=workflow, run_id=run_id).status == "completed"
new = set(sys.modules) - before
print(sorted(name for name in new if name.partition(".")[0] == "abstractcore"))
print(sorted(name for name in new if "integrations" in name))
"""
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    packages, rooms = shown.stdout.splitlines()
    assert packages == "[]"
    if find_spec("abstractcore") is None:  # where it is installed, payloads are grounded (spec/01 §11.4)
        assert rooms == "[]"


# -- exceptions of nodes (spec/01 §3.4, row 6) -----------------------------------------------------------


def raising(run: RunState, context: Any) -> StepPlan:
    run.vars["half"] = "done"
    raise RuntimeError("broken")


@pytest.mark.weakness("spec/01 §19.6")
@pytest.mark.parametrize("kind", ["record", "fail"])
def test_an_exception_of_a_node_may_be_recorded(kernel: Kernel, kind: Any) -> None:
    kernel.use(hooks=Hooks(node_errors=kind))
    workflow = flow(a=goes("b"), b=raising)
    run_id = kernel.start(workflow)
    with pytest.raises(RuntimeError, match="broken"):
        kernel.tick(workflow, run_id)
    state = kernel.state(run_id)
    assert "half" not in state.vars
    record = kernel.ledger(run_id)[0]
    assert (record["node_id"], record["status"], record["effect"]) == ("b", "failed", None)
    assert record["error"] == "Node 'b' raised RuntimeError: broken"
    if kind == "record":
        assert state.status is RunStatus.RUNNING
        with pytest.raises(RuntimeError, match="broken"):
            kernel.tick(workflow, run_id)
        assert [r["attempt"] for r in kernel.ledger(run_id)] == [1, 2]
    else:
        assert (state.status, state.error) == (RunStatus.FAILED, record["error"])
        assert kernel.kinds(run_id)[1:] == ["status failed"]


@pytest.mark.weakness("spec/01 §19.6")
def test_a_plan_that_leads_nowhere_counts_too(kernel: Kernel) -> None:
    kernel.use(hooks=Hooks(node_errors="fail"))
    workflow = flow(a=lambda run, context: StepPlan("a"), b=done)
    run_id = kernel.start(workflow)
    with pytest.raises(ValueError, match="Node 'a' returned no effect and no next_node"):
        kernel.tick(workflow, run_id)
    assert kernel.state(run_id).status is RunStatus.FAILED


@pytest.mark.parametrize("kind", ["record", "fail"])
def test_the_caller_gets_the_exception_whatever_the_ledger_does(kernel: Kernel, kind: Any) -> None:
    kernel.use(hooks=Hooks(node_errors=kind))
    run_id = kernel.start(flow(a=raising))

    def full(record: Any) -> None:
        raise OSError("disk full")

    kernel.ledger_store.append = full
    with pytest.raises(RuntimeError, match="broken"):
        kernel.tick(flow(a=raising), run_id)
    assert kernel.runtime.fault_counts == {"node_error": 1}
    assert kernel.state(run_id).status is RunStatus.RUNNING


def test_a_stopped_run_is_not_failed_by_its_node(kernel: Kernel) -> None:
    def node(run: RunState, context: Any) -> StepPlan:
        kernel.runtime.cancel_run(run.run_id)
        raise RuntimeError("broken")

    kernel.use(hooks=Hooks(node_errors="fail"))
    run_id = kernel.start(flow(a=node))
    with pytest.raises(RuntimeError, match="broken"):
        kernel.tick(flow(a=node), run_id)
    assert kernel.state(run_id).status is RunStatus.CANCELLED
    assert kernel.kinds(run_id) == ["status cancelled"]


def test_by_default_an_exception_leaves_nothing(kernel: Kernel) -> None:
    run_id = kernel.start(flow(a=raising))
    with pytest.raises(RuntimeError, match="broken"):
        kernel.tick(flow(a=raising), run_id)
    assert (kernel.state(run_id).status, kernel.ledger(run_id)) == (RunStatus.RUNNING, [])


# -- additional records (row 16) -------------------------------------------------------------------------


@pytest.mark.weakness("spec/01 §19.16")
def test_a_ledger_from_which_the_run_can_be_followed(kernel: Kernel) -> None:
    kernel.use(hooks=Hooks(record_transitions=True))
    later = kernel.clock.iso(hours=1)
    workflow = flow(a=goes("b"), b=asks(EffectType.WAIT_UNTIL, {"until": later}), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.runtime.update_limits(run_id, {"max_iterations": 3})
    kernel.runtime.pause_run(run_id, reason="tea")
    kernel.runtime.resume_run(run_id)
    kernel.clock.skip(hours=2)
    kernel.tick(workflow, run_id)
    assert kernel.kinds(run_id) == [
        "transition",
        "started wait_until",
        "waiting wait_until",
        "limits",
        "pause",
        "unpause",
        "resume",
        "completion",
        "status completed",
    ]
    transition, limits = kernel.ledger(run_id)[0], kernel.ledger(run_id)[3]
    assert transition["effect"]["payload"] == {"from": "a", "to": "b"}
    assert limits["effect"]["payload"] == {"updates": {"max_iterations": 3}}
    assert set(kernel.runtime.get_node_traces(run_id)) == {"b"}


def test_bad_hooks_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="node_errors is 'ignore'"):
        Hooks(node_errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="durable_backoff_s is -1"):
        Hooks(durable_backoff_s=-1)
    with pytest.raises(InvalidInputError, match="grounding is 'maybe'"):
        Hooks(grounding="maybe")  # type: ignore[arg-type]
