"""What the records hold (`spec/01 §10.14`): clients match on these shapes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .flows import asks, done, flow, goes
from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore

RECORD_FIELDS = [
    "run_id",
    "step_id",
    "node_id",
    "status",
    "effect",
    "result",
    "error",
    "started_at",
    "ended_at",
    "actor_id",
    "session_id",
    "attempt",
    "idempotency_key",
    "prev_hash",
    "record_hash",
    "signature",
]
WAIT_FIELDS = [
    "reason",
    "wait_key",
    "until",
    "resume_to_node",
    "result_key",
    "prompt",
    "choices",
    "allow_free_text",
    "details",
]


def test_effect_step_records(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}), done=done)
    run_id = kernel.go(workflow, actor_id="actor", session_id="session").run_id
    started, ended = kernel.ledger(run_id)[:2]
    assert list(started) == RECORD_FIELDS
    for shared in ("step_id", "node_id", "started_at", "attempt", "idempotency_key", "effect"):
        assert started[shared] == ended[shared]
    assert (started["status"], ended["status"]) == ("started", "completed")
    assert (started["ended_at"], started["result"], started["error"]) == (None, None, None)
    assert ended["ended_at"] > started["started_at"]
    effect = {"type": "answer_user", "payload": {"message": "hi"}, "result_key": "out"}
    assert ended["effect"] == effect
    assert ended["result"] == {"message": "hi", "level": "message"}
    assert (ended["node_id"], ended["attempt"], ended["run_id"]) == ("a", 1, run_id)
    assert (ended["actor_id"], ended["session_id"]) == ("actor", "session")


def test_records_carry_the_plans_node_id(kernel: Kernel) -> None:
    def elsewhere(run: RunState, context: RunContext) -> StepPlan:
        plan = asks(EffectType.ANSWER_USER, {"message": "hi"})(run, context)
        return StepPlan("alias", plan.effect, plan.next_node)

    run_id = kernel.go(flow(a=elsewhere, done=done)).run_id
    assert [record["node_id"] for record in kernel.ledger(run_id)[:2]] == ["alias", "alias"]
    assert list(kernel.runtime.get_node_traces(run_id)) == ["alias"]


def test_waiting_record_shows_the_wait(kernel: Kernel) -> None:
    payload = {"prompt": "Go on?", "choices": ["yes", "no"], "allow_free_text": False}
    state = kernel.go(flow(a=asks(EffectType.ASK_USER, payload), done=done))
    wait = kernel.ledger(state.run_id)[-1]["result"]["wait"]
    assert list(wait) == WAIT_FIELDS
    assert wait == {
        "reason": "user",
        "wait_key": f"user:{state.run_id}:a",
        "until": None,
        "resume_to_node": "done",
        "result_key": "out",
        "prompt": "Go on?",
        "choices": ["yes", "no"],
        "allow_free_text": False,
        "details": None,
    }
    assert state.waiting is not None
    assert state.waiting.to_dict() == wait


def test_completion_record(kernel: Kernel) -> None:
    def ends(run: RunState, context: RunContext) -> StepPlan:
        return StepPlan(run.current_node, complete_output={"text": "é", "list": [1, None]})

    run_id = kernel.go(flow(end=ends)).run_id
    record = kernel.ledger(run_id)[0]
    assert (record["effect"], record["status"], record["attempt"]) == (None, "completed", 1)
    assert (record["idempotency_key"], record["node_id"]) == (None, "end")
    assert record["result"] == {"completed": True, "output": {"text": "é", "list": [1, None]}}


def test_empty_output_completes(kernel: Kernel) -> None:
    workflow = flow(
        end=lambda run, context: StepPlan(
            "end",
            asks(EffectType.ASK_USER, {"prompt": "never asked"})(run, context).effect,
            "nowhere",
            complete_output={},
        )
    )
    state = kernel.go(workflow)
    assert (state.status.value, state.output) == ("completed", {})
    assert kernel.kinds(state.run_id) == ["completion", "status completed"]


@pytest.mark.parametrize(
    "stores",  # those that take any object as output
    [(PlainRunStore, PlainLedgerStore), (InMemoryRunStore, InMemoryLedgerStore)],
)
def test_completion_record_is_json_safe_and_the_output_is_kept_as_it_is(
    stores: tuple[Callable[[], Any], Callable[[], Any]],
) -> None:
    kernel = Kernel(*(make() for make in stores))
    cyclic: dict[str, Any] = {}
    cyclic["self"] = cyclic
    output = {"day": date(2026, 1, 2), 3: {"x"}, "cycle": cyclic}
    state = kernel.go(flow(end=lambda run, context: StepPlan("end", complete_output=output)))
    assert state.output is not None
    assert state.output["day"] == date(2026, 1, 2)
    stored = kernel.state(state.run_id).output
    assert stored is not None
    assert (stored["day"], stored[3]) == (date(2026, 1, 2), {"x"})
    assert kernel.ledger(state.run_id)[0]["result"]["output"] == {
        "day": "2026-01-02",
        "3": "{'x'}",
        "cycle": {"self": "<cycle>"},
    }


def test_resume_record(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"}), done=done)
    run_id = kernel.go(workflow, session_id="s").run_id
    kernel.resume(workflow, run_id, {"text": "yes"}, wait_key="k")
    record = kernel.ledger(run_id)[2]
    assert record["effect"] == {
        "type": "resume",
        "payload": {
            "wait_reason": "user",
            "wait_key": "k",
            "resume_to_node": "done",
            "result_key": "out",
            "payload": {"text": "yes"},
        },
        "result_key": None,
    }
    assert (record["result"], record["status"]) == ({"resumed": True}, "completed")
    assert (record["idempotency_key"], record["node_id"], record["session_id"]) == (None, "a", "s")


def test_completion_by_resume_record(kernel: Kernel) -> None:
    payload = {"wait_key": "k"}
    workflow = flow(a=asks(EffectType.WAIT_EVENT, payload, then=None, key=None))
    run_id = kernel.go(workflow).run_id
    kernel.resume(workflow, run_id, [1])
    record = kernel.ledger(run_id)[-2]
    assert (record["effect"], record["node_id"]) == (None, "a")
    assert record["result"] == {
        "completed": True,
        "via": "resume",
        "wait_reason": "event",
        "wait_key": "k",
        "output": {"success": True, "result": [1]},
    }


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_status_event_is_the_last_record(kernel: Kernel, status: str) -> None:
    workflow = flow(
        a=goes("done" if status == "completed" else "fail"), done=done, fail=asks(EffectType.LLM_CALL)
    )
    run_id = kernel.start(workflow, actor_id="me", session_id="s")
    if status == "cancelled":
        kernel.runtime.cancel_run(run_id)
    else:
        kernel.tick(workflow, run_id)
    record = kernel.ledger(run_id)[-1]
    event = {"name": "abstract.status", "scope": "session", "payload": {"text": status}}
    assert record["effect"] == {"type": "emit_event", "payload": event, "result_key": None}
    assert record["result"] == {"emitted": True, "name": "abstract.status", "payload": {"text": status}}
    assert record["idempotency_key"] == f"system:terminal_status:{status}"
    assert (record["status"], record["node_id"]) == ("completed", kernel.state(run_id).current_node)
    assert (record["actor_id"], record["session_id"]) == ("me", "s")
    assert kernel.state(run_id).status == status


def test_status_event_reaches_no_listener(kernel: Kernel) -> None:
    listener = flow("listener", a=asks(EffectType.WAIT_EVENT, {"name": "abstract.status"}), done=done)
    listening = kernel.go(listener, session_id="s")
    kernel.go(flow(done=done), session_id="s")
    assert kernel.state(listening.run_id).status == "waiting"


def test_pause_record_says_why(kernel: Kernel) -> None:
    kernel.use(hooks=Hooks(record_transitions=True))
    run_id = kernel.start(flow(a=goes("a")))
    kernel.runtime.pause_run(run_id, reason=" lunch ")
    record = kernel.ledger(run_id)[0]
    assert record["effect"] == {"type": "pause", "payload": {"reason": "lunch"}, "result_key": None}
    assert (record["status"], record["idempotency_key"]) == ("completed", None)


@pytest.mark.weakness("spec/01 §19.10")
def test_ledger_keeps_what_was_true_when_it_was_written(kernel: Kernel) -> None:
    """What a handler does to its payload or its result afterwards reaches neither ledger nor run."""
    kept: dict[str, Any] = {"items": [1]}

    def handler(run: RunState, effect: Any) -> EffectOutcome:
        effect.payload["prompt"] = "changed"
        return EffectOutcome.completed(kept)

    asked = {"prompt": "as asked"}
    kernel.use(effect_handlers={EffectType.LLM_CALL: handler})
    workflow = flow(a=asks(EffectType.LLM_CALL, asked), done=done)
    run_id = kernel.start(workflow)
    kernel.tick(workflow, run_id, max_steps=1)
    kept["items"].append(2)
    assert asked == {"prompt": "as asked"}
    assert [record["effect"]["payload"] for record in kernel.ledger(run_id)] == [{"prompt": "as asked"}] * 2
    assert kernel.ledger(run_id)[1]["result"] == {"items": [1]}
    assert kernel.state(run_id).vars["out"] == {"items": [1]}


@pytest.mark.weakness("spec/01 §19.10")
def test_result_in_vars_and_in_ledger_are_different_objects(kernel: Kernel) -> None:
    def changes(run: RunState, context: RunContext) -> StepPlan:
        run.vars["out"]["message"] = "changed"
        return StepPlan(run.current_node, next_node="done")

    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}, then="b"), b=changes, done=done)
    run_id = kernel.go(workflow).run_id
    assert kernel.ledger(run_id)[1]["result"]["message"] == "hi"
    assert kernel.runtime.get_node_trace(run_id, "a")["steps"][0]["result"]["message"] == "hi"


def test_what_a_node_does_to_a_result_does_not_reach_the_handler(kernel: Kernel) -> None:
    def changes(run: RunState, context: RunContext) -> StepPlan:
        run.vars["out"]["items"].append(2)
        return StepPlan(run.current_node, next_node="done")

    kept = {"items": [1]}
    kernel.use(effect_handlers={EffectType.LLM_CALL: lambda run, effect: EffectOutcome.completed(kept)})
    workflow = flow(a=asks(EffectType.LLM_CALL, {}, then="b"), b=changes, done=done)
    assert kernel.go(workflow).output == {"out": {"items": [1, 2]}}
    assert kept == {"items": [1]}
