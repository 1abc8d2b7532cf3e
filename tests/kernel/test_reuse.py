"""A result that the ledger has is not obtained twice (`spec/01 §5.4`, §5.5)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import DefaultEffectPolicy

from .flows import asks, done, flow, loop
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL


class Killed(BaseException):
    """The process ends here."""


def number_of_call() -> tuple[Any, list[Any]]:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({"call": len(calls)}))
    return handler, calls


def test_equal_payload_in_a_loop_happens_once(kernel: Kernel) -> None:
    handler, calls = number_of_call()
    kernel.use(effect_handlers={LLM: handler})
    state = kernel.go(flow(a=loop(LLM, lambda visit: {"prompt": "same"}, times=3)))
    assert len(calls) == 1
    assert state.vars["out"] == {"call": 1}
    flags = [s["reused_prior_result"] for s in kernel.runtime.get_node_trace(state.run_id, "a")["steps"]]
    assert flags == [False, True, True]
    assert kernel.kinds(state.run_id)[:3] == ["started llm_call", "completed llm_call", "completion"]


def test_different_payloads_happen_each_time(kernel: Kernel) -> None:
    handler, calls = number_of_call()
    kernel.use(effect_handlers={LLM: handler})
    kernel.go(flow(a=loop(LLM, lambda visit: {"prompt": visit}, times=3)))
    assert len(calls) == 3


def test_a_policy_may_tell_visits_apart(kernel: Kernel) -> None:
    class ByVisit(DefaultEffectPolicy):
        def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
            return f"{node_id}-{run.vars['visits']}"

    handler, calls = number_of_call()
    kernel.use(effect_handlers={LLM: handler}, effect_policy=ByVisit())
    state = kernel.go(flow(a=loop(LLM, lambda visit: {"prompt": "same"}, times=3)))
    assert (len(calls), state.vars["out"]) == (3, {"call": 3})


def test_crash_between_record_and_checkpoint_is_healed(kernel: Kernel) -> None:
    handler, calls = number_of_call()
    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(a=asks(LLM, {"prompt": "p"}), done=done)
    run_id = kernel.start(workflow)
    save = kernel.run_store.save

    def die(run: Any) -> None:
        raise Killed

    kernel.run_store.save = die
    with pytest.raises(Killed):
        kernel.tick(workflow, run_id)
    kernel.run_store.save = save
    kernel.use(effect_handlers={LLM: handler})  # as a restarted process would
    assert kernel.tick(workflow, run_id).output == {"out": {"call": 1}}
    assert len(calls) == 1
    assert kernel.kinds(run_id).count("completed llm_call") == 1
    (entry,) = kernel.runtime.get_node_trace(run_id, "a")["steps"]  # one step, whatever died in it
    assert (entry["reused_prior_result"], entry["result"]) == (True, {"call": 1})


def test_crash_during_the_effect_repeats_it(kernel: Kernel) -> None:
    def handler(run: Any, effect: Any) -> EffectOutcome:
        calls.append(1)
        if len(calls) == 1:
            raise Killed
        return EffectOutcome.completed({})

    calls: list[int] = []
    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(a=asks(LLM, {"prompt": "p"}), done=done)
    run_id = kernel.start(workflow)
    with pytest.raises(Killed):
        kernel.tick(workflow, run_id)
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED
    assert kernel.kinds(run_id)[:3] == ["started llm_call", "started llm_call", "completed llm_call"]


def test_rewinding_the_run_takes_results_from_the_ledger(kernel: Kernel) -> None:
    handler, calls = number_of_call()
    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(
        a=asks(LLM, {"prompt": "p"}, then="ask"), ask=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done
    )
    run = kernel.go(workflow)
    run.current_node, run.status, run.waiting = "a", RunStatus.RUNNING, None
    kernel.run_store.save(run)
    assert kernel.tick(workflow, run.run_id).status is RunStatus.WAITING
    assert len(calls) == 1


def test_completed_without_result_counts(kernel: Kernel) -> None:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed(None))
    kernel.use(effect_handlers={LLM: handler})
    kernel.go(flow(a=loop(LLM, lambda visit: {"prompt": "same"}, times=2)))
    assert len(calls) == 1


def test_waiting_outcomes_are_not_reused(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "again?"}, then="a"))
    run_id = kernel.go(workflow).run_id
    for _ in range(2):
        assert kernel.resume(workflow, run_id, {"text": "yes"}).status is RunStatus.WAITING
    assert kernel.kinds(run_id).count("waiting ask_user") == 3


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (EffectType.ANSWER_USER, {"message": "hi"}),
        (EffectType.WAIT_UNTIL, {"until": "2020-01-01T00:00:00Z"}),
        (EffectType.VARS_QUERY, {"path": "/"}),
        (EffectType.EMIT_EVENT, {"name": "e"}),
        (EffectType.START_SUBWORKFLOW, {"workflow_id": "child"}),
    ],
)
def test_builtins_are_reused_too(kernel: Kernel, kind: EffectType, payload: dict[str, Any]) -> None:
    kernel.know(flow("child", done=done))
    state = kernel.go(flow(a=loop(kind, lambda visit: payload, times=2)))
    assert kernel.kinds(state.run_id).count(f"completed {kind.value}") == 1
    assert [
        step["reused_prior_result"] for step in kernel.runtime.get_node_trace(state.run_id, "a")["steps"]
    ] == [
        False,
        True,
    ]


@pytest.mark.weakness("spec/01 §19.10")
def test_reused_results_are_copies(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"items": []})})

    def node(run: RunState, context: Any) -> StepPlan:
        if "out" in run.vars:
            run.vars["out"]["items"].append("changed")
        visits = run.vars["visits"] = run.vars.get("visits", 0) + 1
        if visits > 3:
            return StepPlan("a", complete_output=run.vars["out"])
        return StepPlan("a", Effect(LLM, {"prompt": "same"}, "out"), "a")

    state = kernel.go(flow(a=node))
    assert state.output == {"items": ["changed"]}
    assert kernel.ledger(state.run_id)[1]["result"] == {"items": []}
    steps = kernel.runtime.get_node_trace(state.run_id, "a")["steps"]
    assert [step["result"] for step in steps] == [{"items": []}] * 3


def test_tool_calls_get_ids_of_the_runtimes_own(kernel: Kernel) -> None:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({}))
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    asked = {"tool_calls": [{"name": " ls ", "id": "drifting"}, "text", {"name": "cat", "arguments": {}}]}
    state = kernel.go(flow(a=asks(EffectType.TOOL_CALLS, asked), done=done))
    started = kernel.ledger(state.run_id)[0]
    key = started["idempotency_key"]
    expected = [
        {"name": "ls", "id": "drifting", "call_id": "drifting", "runtime_call_id": f"rtcall_{key}_1"},
        "text",
        {
            "name": "cat",
            "arguments": {},
            "call_id": f"rtcall_{key}_3",
            "runtime_call_id": f"rtcall_{key}_3",
        },
    ]
    assert started["effect"]["payload"]["tool_calls"] == expected
    assert calls[0]["tool_calls"] == expected
    assert asked["tool_calls"][0] == {"name": " ls ", "id": "drifting"}


def test_drifting_provider_ids_are_the_same_call(kernel: Kernel) -> None:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({}))
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    kernel.go(
        flow(a=loop(EffectType.TOOL_CALLS, lambda n: {"tool_calls": [{"name": "ls", "id": n}]}, times=2))
    )
    assert len(calls) == 1


@pytest.mark.parametrize("error", [RuntimeError("policy"), ValueError("policy"), TypeError("policy")])
def test_a_policy_that_raises_raises_out_of_tick(kernel: Kernel, error: Exception) -> None:
    class Broken(DefaultEffectPolicy):
        def idempotency_key(self, *, run: RunState, node_id: str, effect: Effect) -> str:
            raise error

    kernel.use(effect_policy=Broken())
    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}))
    run_id = kernel.start(workflow)
    with pytest.raises(type(error), match="policy"):
        kernel.tick(workflow, run_id)
    assert kernel.state(run_id).status is RunStatus.RUNNING
    assert kernel.ledger(run_id) == []


@pytest.mark.weakness("spec/01 §19.1")
@pytest.mark.weakness("spec/02 P-1")
def test_cost_of_the_lookup_does_not_grow_with_the_ledger(kernel: Kernel) -> None:
    """Within one tick the ledger is listed at most once, however many steps are taken."""
    listed = []
    list_records = kernel.ledger_store.list

    def counted(run_id: str) -> Any:
        listed.append(run_id)
        return list_records(run_id)

    kernel.ledger_store.list = counted
    kernel.go(flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": visit}, times=50)))
    assert len(listed) <= 1


@pytest.mark.weakness("spec/01 §19.3")
@pytest.mark.weakness("spec/02 P-3")
@pytest.mark.parametrize("stores", ["memory", "sqlite"], indirect=True)
def test_control_reads_are_cheap_where_the_store_has_versions(kernel: Kernel) -> None:
    """No full load per step (`spec/01 §19.3`)."""
    loaded = []
    load = kernel.run_store.load

    def counted(run_id: str) -> Any:
        loaded.append(run_id)
        return load(run_id)

    kernel.run_store.load = counted
    kernel.go(flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": visit}, times=50)))
    assert len(loaded) <= 2
