"""Pause, unpause, cancel: of resting runs and against a running step (`spec/01 §9.4`, §9.5, §14)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from abstractruntime.core import drive
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepPlan,
    WaitReason,
    WaitState,
)
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.run_locks import alone
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.core.traces import renew_traces

from .flows import asks, done, flow, goes
from .kernel import Kernel, counting
from .plain_stores import LiveRunStore, PlainLedgerStore

LLM = EffectType.LLM_CALL
ASK = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
GO = flow(a=goes("done"), done=done)
EVENT = flow(a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)


def flags(state: RunState) -> dict[str, Any]:
    found: dict[str, Any] = state.vars["_runtime"].get("control", {})
    return found


# -- resting runs ---------------------------------------------------------------------------------


def test_pause_of_a_running_run(kernel: Kernel) -> None:
    run_id = kernel.start(GO)
    state = kernel.runtime.pause_run(run_id, reason="  lunch ")
    assert state.status is RunStatus.WAITING
    assert state.waiting == WaitState(
        WaitReason.USER,
        wait_key=f"pause:{run_id}",
        resume_to_node="a",
        prompt="Paused",
        allow_free_text=False,
        details={"kind": "pause"},
    )
    stored = kernel.state(run_id)
    assert (flags(stored)["paused"], flags(stored)["pause_reason"]) == (True, "lunch")
    assert flags(stored)["paused_at"].startswith("2026-01-02T03:04:05.")
    assert "resumed_at" not in flags(stored)
    assert kernel.tick(GO, run_id).updated_at == stored.updated_at
    with pytest.raises(ValueError, match=r"^Run is paused$"):
        kernel.resume(GO, run_id, {}, wait_key=f"pause:{run_id}")


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_pause_without_reason(kernel: Kernel, reason: str | None) -> None:
    assert "pause_reason" not in flags(kernel.runtime.pause_run(kernel.start(GO), reason=reason))


def test_unpause_of_a_running_run(kernel: Kernel) -> None:
    run_id = kernel.start(GO)
    paused_at = flags(kernel.runtime.pause_run(run_id, reason="lunch"))["paused_at"]
    state = kernel.runtime.resume_run(run_id)
    assert (state.status, state.waiting, state.current_node) == (RunStatus.RUNNING, None, "a")
    assert set(flags(state)) == {"paused_at", "resumed_at"}
    assert flags(state)["paused_at"] == paused_at
    assert flags(state)["resumed_at"] > paused_at
    assert kernel.tick(GO, run_id).status is RunStatus.COMPLETED


def test_pause_keeps_a_real_wait(kernel: Kernel) -> None:
    state = kernel.go(EVENT)
    paused = kernel.runtime.pause_run(state.run_id)
    assert (paused.waiting, flags(paused)["paused"]) == (state.waiting, True)
    with pytest.raises(ValueError, match=r"^Run is paused$"):
        kernel.resume(EVENT, state.run_id, {}, wait_key="k")
    unpaused = kernel.runtime.resume_run(state.run_id)
    assert (unpaused.status, unpaused.waiting) == (RunStatus.WAITING, state.waiting)
    assert kernel.resume(EVENT, state.run_id, 1, wait_key="k").output == {"out": 1}


def test_run_that_asks_a_person_is_not_paused(kernel: Kernel) -> None:
    before = kernel.go(ASK)
    after = kernel.runtime.pause_run(before.run_id)
    assert (after.updated_at, flags(after)) == (before.updated_at, {})
    assert kernel.resume(ASK, before.run_id, 1).output == {"out": 1}


def test_pause_and_unpause_where_there_is_nothing_to_do(kernel: Kernel) -> None:
    run_id = kernel.start(GO)
    assert kernel.runtime.resume_run(run_id).updated_at == kernel.state(run_id).updated_at
    first = kernel.runtime.pause_run(run_id, reason="one")
    assert kernel.runtime.pause_run(run_id, reason="two").updated_at == first.updated_at
    assert kernel.kinds(run_id) == []
    ended = kernel.go(GO)
    for command in (kernel.runtime.pause_run, kernel.runtime.resume_run, kernel.runtime.cancel_run):
        assert command(ended.run_id).updated_at == ended.updated_at
    assert kernel.kinds(ended.run_id) == ["completion", "status completed"]


@pytest.mark.parametrize(("reason", "error"), [(None, "Cancelled"), ("", "Cancelled"), ("stop", "stop")])
@pytest.mark.parametrize("workflow", [ASK, EVENT, flow(a=goes("a"))])
def test_cancel(kernel: Kernel, workflow: WorkflowSpec, reason: str | None, error: str) -> None:
    run_id = kernel.go(workflow).run_id
    state = kernel.runtime.cancel_run(run_id, reason=reason)
    assert (state.status, state.error, state.waiting) == (RunStatus.CANCELLED, error, None)
    again = kernel.runtime.cancel_run(run_id, reason="other")
    assert (again.error, again.updated_at) == (error, state.updated_at)
    assert kernel.kinds(run_id).count("status cancelled") == 1
    assert kernel.tick(workflow, run_id).error == error
    with pytest.raises(ValueError, match=r"^Run is not waiting$"):
        kernel.resume(workflow, run_id, {})


def test_cancel_of_a_paused_run(kernel: Kernel) -> None:
    run_id = kernel.start(GO)
    kernel.runtime.pause_run(run_id)
    state = kernel.runtime.cancel_run(run_id)
    assert state.status is RunStatus.CANCELLED
    assert "paused" not in flags(state)
    assert kernel.runtime.resume_run(run_id).status is RunStatus.CANCELLED


def test_control_does_not_touch_children(kernel: Kernel) -> None:
    child = flow("child", a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    kernel.know(child)
    workflow = flow("parent", a=asks(EffectType.START_SUBWORKFLOW, {"workflow_id": "child"}), done=done)
    parent = kernel.go(workflow)
    (waiting,) = kernel.run_store.list_children(parent_run_id=parent.run_id)
    kernel.runtime.pause_run(parent.run_id)
    kernel.runtime.cancel_run(parent.run_id)
    assert kernel.state(waiting.run_id).updated_at == waiting.updated_at


# -- against a running step -----------------------------------------------------------------------

Command = Callable[[Kernel, str], Any]


def pause(kernel: Kernel, run_id: str) -> RunState:
    return kernel.runtime.pause_run(run_id)


def cancel(kernel: Kernel, run_id: str) -> RunState:
    return kernel.runtime.cancel_run(run_id)


def node_that(kernel: Kernel, command: Command, plan: StepPlan) -> WorkflowSpec:
    """The command strikes while the node runs."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        if not kernel.ledger(run.run_id):
            run.vars["mark"] = "of the aborted step"
            command(kernel, run.run_id)
        return plan

    return flow(a=node, done=done)


@pytest.mark.parametrize("command", [pause, cancel])
@pytest.mark.parametrize(
    "plan",
    [
        StepPlan("a", next_node="done"),
        StepPlan("a", complete_output={"out": 1}),
        StepPlan("a", Effect(EffectType.ASK_USER, {"prompt": "?"}), "done"),
        StepPlan("a", Effect(EffectType.ANSWER_USER, {"message": "hi"}), "done"),
        StepPlan("a", Effect(EffectType.ANSWER_USER, {"message": "hi"})),
        StepPlan("a", Effect(LLM), "done"),
    ],
    ids=["transition", "completion", "wait", "effect", "terminal effect", "failure"],
)
def test_a_stopped_step_commits_nothing(kernel: Kernel, command: Command, plan: StepPlan) -> None:
    state = kernel.go(node_that(kernel, command, plan))
    stored = kernel.state(state.run_id)
    assert state.updated_at == stored.updated_at
    assert stored.status is (RunStatus.WAITING if command is pause else RunStatus.CANCELLED)
    assert (stored.current_node, stored.output) == ("a", None)
    assert "mark" not in stored.vars
    assert not {"completion", "status completed", "status failed"} & set(kernel.kinds(state.run_id))


def effect_that(kernel: Kernel, command: Command) -> tuple[Kernel, WorkflowSpec, list[Any]]:
    """The command strikes while an effect is carried out."""

    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        if len(calls) == 1:
            command(kernel, run.run_id)
        return EffectOutcome.completed({"call": len(calls)})

    counted, calls = counting(handler)
    kernel.use(effect_handlers={LLM: counted})
    return kernel, flow(a=asks(LLM, {"prompt": "p"}), done=done), calls


def test_cancel_during_an_effect(kernel: Kernel) -> None:
    kernel, workflow, _ = effect_that(kernel, cancel)
    state = kernel.go(workflow)
    assert state.status is RunStatus.CANCELLED
    assert kernel.kinds(state.run_id) == ["started llm_call", "status cancelled", "completed llm_call"]
    assert kernel.state(state.run_id).error == "Cancelled"


def test_outcome_obtained_during_a_pause_is_not_lost(kernel: Kernel) -> None:
    kernel, workflow, calls = effect_that(kernel, pause)
    state = kernel.go(workflow)
    assert state.waiting is not None
    assert state.waiting.wait_key == f"pause:{state.run_id}"
    assert kernel.kinds(state.run_id) == ["started llm_call", "completed llm_call"]
    kernel.runtime.resume_run(state.run_id)
    assert kernel.tick(workflow, state.run_id).output == {"out": {"call": 1}}
    assert len(calls) == 1
    (reused,) = kernel.runtime.get_node_trace(state.run_id, "a")["steps"]
    assert reused["reused_prior_result"] is True


def test_pause_and_unpause_during_an_effect_let_it_go_on(kernel: Kernel) -> None:
    def both(kernel: Kernel, run_id: str) -> None:
        pause(kernel, run_id)
        kernel.runtime.resume_run(run_id)

    kernel, workflow, calls = effect_that(kernel, both)
    state = kernel.go(workflow)
    assert (state.output, len(calls)) == ({"out": {"call": 1}}, 1)
    assert set(flags(kernel.state(state.run_id))) == {"paused_at", "resumed_at"}


def test_limits_updated_during_an_effect_survive_it(kernel: Kernel) -> None:
    def command(kernel: Kernel, run_id: str) -> None:
        kernel.runtime.update_limits(run_id, {"max_tokens": 77})

    kernel, workflow, _ = effect_that(kernel, command)
    state = kernel.go(workflow)
    assert state.status is RunStatus.COMPLETED
    assert kernel.state(state.run_id).vars["_limits"]["max_tokens"] == 77


def test_limits_that_a_node_counts_are_kept_beside_those_updated_meanwhile(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        run.vars["_limits"]["current_iteration"] += 1
        kernel.runtime.update_limits(run.run_id, {"max_iterations": 99})
        return StepPlan("a", next_node="done")

    limits = kernel.go(flow(a=node, done=done)).vars["_limits"]
    assert (limits["current_iteration"], limits["max_iterations"]) == (1, 99)


def test_wait_begun_during_a_pause_is_begun_again(kernel: Kernel) -> None:
    workflow = node_that(
        kernel, pause, StepPlan("a", Effect(EffectType.ASK_USER, {"prompt": "?"}, "out"), "done")
    )
    state = kernel.go(workflow)
    kernel.runtime.resume_run(state.run_id)
    assert kernel.tick(workflow, state.run_id).status is RunStatus.WAITING
    pair = ["started ask_user", "waiting ask_user"]
    assert kernel.kinds(state.run_id) == [*pair, *pair]


def after_a_commit(monkeypatch: pytest.MonkeyPatch, act: Callable[[RunState], object]) -> None:
    """Act at the first thing that happens after a commit; nothing a host has is called there."""

    def renewed(run: RunState) -> bool:
        act(run)
        return renew_traces(run)

    monkeypatch.setattr(drive, "renew_traces", renewed)


def test_control_between_two_steps_is_seen_before_the_next_node(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def second(run: RunState, context: RunContext) -> StepPlan:
        ran.append("second")
        return done(run, context)

    workflow = flow(a=goes("b"), b=second)
    run_id = kernel.start(workflow)
    after_a_commit(monkeypatch, lambda run: pause(kernel, run.run_id))
    state = kernel.tick(workflow, run_id)
    assert (ran, state.status, state.current_node) == ([], RunStatus.WAITING, "b")


def cancel_by_hand(kernel: Kernel, run_id: str) -> None:
    """As a host does that has only the store."""
    run = kernel.run_store.load(run_id)
    run.status = RunStatus.CANCELLED
    kernel.run_store.save(run)


def test_a_write_of_nothing_but_the_run_between_two_steps_is_seen_too(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(run: RunState) -> None:
        with alone(kernel.run_store, run.run_id):
            cancel_by_hand(kernel, run.run_id)

    workflow = flow(a=goes("b"), b=fails_if_it_runs)
    run_id = kernel.start(workflow)
    after_a_commit(monkeypatch, write)
    assert kernel.tick(workflow, run_id).status is RunStatus.CANCELLED


def test_a_handler_that_is_told_of_the_commit_may_stop_the_run(kernel: Kernel) -> None:
    def answer(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({})

    def on_committed(run: RunState, effect: Effect, key: str) -> None:
        cancel_by_hand(kernel, run.run_id)

    answer.on_committed = on_committed  # type: ignore[attr-defined]
    kernel.use(effect_handlers={EffectType.TOOL_CALLS: answer})
    workflow = flow(a=asks(EffectType.TOOL_CALLS, then="b"), b=fails_if_it_runs)
    assert kernel.go(workflow).status is RunStatus.CANCELLED


def fails_if_it_runs(run: RunState, context: RunContext) -> StepPlan:
    raise AssertionError("the next node ran")


def test_control_by_the_very_write_that_commits_a_step(kernel: Kernel) -> None:
    ran: list[str] = []

    def second(run: RunState, context: RunContext) -> StepPlan:
        ran.append("second")
        return done(run, context)

    workflow = flow(a=goes("b"), b=second)
    run_id = kernel.start(workflow)
    save = kernel.run_store.save
    struck: list[bool] = []

    def save_then_pause(run: RunState) -> None:
        save(run)
        if not struck:
            struck.append(True)
            kernel.runtime.pause_run(run_id)

    kernel.run_store.save = save_then_pause
    state = kernel.tick(workflow, run_id)
    kernel.run_store.save = save
    assert (ran, state.status) == ([], RunStatus.WAITING)
    kernel.runtime.resume_run(run_id)
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED


@pytest.mark.parametrize("command", [pause, cancel])
@pytest.mark.parametrize("moment", ["resume", "wake-up"])
def test_control_by_a_subscriber_who_sees_the_run_go_on(
    kernel: Kernel, command: Command, moment: str
) -> None:
    append = kernel.ledger_store.append

    def strike(record: Any) -> None:
        append(record)
        if record.effect and record.effect["type"] == "resume":
            command(kernel, record.run_id)

    timer = {"until": kernel.clock.iso(hours=1)}
    workflow = flow(a=asks(EffectType.WAIT_UNTIL, timer), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.ledger_store.append = strike
    if moment == "wake-up":
        kernel.clock.skip(hours=2)
        kernel.tick(workflow, run_id)
    else:
        expected = r"^Run is paused$" if command is pause else r"^Run is not waiting$"
        with pytest.raises(ValueError, match=expected):
            kernel.resume(workflow, run_id, 1)
    state = kernel.state(run_id)
    assert state.current_node == "a"
    assert flags(state).get("paused") is (True if command is pause else None)
    assert state.status is (RunStatus.WAITING if command is pause else RunStatus.CANCELLED)


def test_store_that_fails_at_the_control_read_counts_as_not_controlled(kernel: Kernel) -> None:
    workflow = flow(a=goes("b"), b=goes("done"), done=done)
    run_id = kernel.start(workflow)
    load, loads = kernel.run_store.load, []

    def broken_later(wanted: str) -> RunState | None:
        loads.append(wanted)
        if len(loads) > 2:
            raise OSError("replica is gone")
        return load(wanted)

    kernel.run_store.load = broken_later
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED


def test_a_step_whose_run_was_moved_on_by_somebody_else_is_dropped(kernel: Kernel) -> None:
    """Another process committed the same step: ours was late."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        if "moved" not in run.vars:
            other = kernel.run_store.load(run.run_id)
            other.vars["moved"] = True
            other.updated_at = kernel.clock.iso(seconds=1)  # a whole commit: self-loop of the same node
            kernel.run_store.save(other)
            return StepPlan("a", complete_output={"by": "the late one"})
        return StepPlan("a", complete_output={"by": "the next"})

    assert kernel.go(flow(a=node)).output == {"by": "the next"}


def test_stores_that_hand_out_what_they_keep() -> None:
    kernel = Kernel(LiveRunStore(), PlainLedgerStore())
    kernel, workflow, calls = effect_that(kernel, pause)
    state = kernel.go(workflow)
    assert state.status is RunStatus.WAITING
    kernel.runtime.resume_run(state.run_id)
    assert kernel.tick(workflow, state.run_id).output == {"out": {"call": 1}}
    assert len(calls) == 1
    waiting = kernel.go(flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done))
    assert kernel.resume(ASK, waiting.run_id, 2).output == {"out": 2}


@pytest.mark.parametrize("place", ["node", "handler"])
def test_pause_flag_that_a_host_stores_by_itself(kernel: Kernel, place: str) -> None:
    """Nothing of the step is committed, although status, node and time of the stored run are as before."""

    def set_flag(run: RunState) -> None:
        stored = deepcopy(kernel.run_store.load(run.run_id))
        stored.vars["_runtime"].setdefault("control", {})["paused"] = True
        kernel.run_store.save(stored)

    def node(run: RunState, context: RunContext) -> StepPlan:
        if place == "node":
            set_flag(run)
            return StepPlan("a", next_node="done")
        return StepPlan("a", Effect(LLM), "done")

    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        set_flag(run)
        return EffectOutcome.completed({"n": 1})

    kernel.use(effect_handlers={LLM: handler})
    workflow = flow(a=node, done=done)
    state = kernel.go(workflow)
    assert (state.status, state.current_node) == (RunStatus.RUNNING, "a")
    assert flags(state) == flags(kernel.state(state.run_id)) == {"paused": True}
    assert kernel.kinds(state.run_id) == (
        ["started llm_call", "completed llm_call"] if place == "handler" else []
    )
