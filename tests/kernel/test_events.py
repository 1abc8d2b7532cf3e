"""EMIT_EVENT (`spec/01 §12.5`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import BareRunStore, PlainLedgerStore

EMIT, WAIT = EffectType.EMIT_EVENT, EffectType.WAIT_EVENT


def listener(
    payload: dict[str, Any], workflow_id: str = "listener", then: str | None = "done"
) -> WorkflowSpec:
    return flow(workflow_id, a=asks(WAIT, payload, then=then), done=done)


def emitter(payload: dict[str, Any]) -> WorkflowSpec:
    return flow("emitter", a=asks(EMIT, payload), done=done)


def emit(kernel: Kernel, payload: dict[str, Any], **of: Any) -> dict[str, Any]:
    of.setdefault("session_id", "s")
    state = kernel.go(emitter(payload), **of)
    assert state.status is RunStatus.COMPLETED, state.error
    result: dict[str, Any] = state.vars["out"]
    return result


def refusal(kernel: Kernel, payload: Any, **of: Any) -> str:
    state = kernel.go(emitter(payload), session_id="s", **of)
    assert state.status is RunStatus.FAILED
    return (state.error or "").removeprefix("Effect failed after 1 attempts: ")


def test_nobody_listens(kernel: Kernel) -> None:
    kernel.use(workflow_registry=None)  # not needed without listeners
    state = kernel.go(emitter({"name": "paid"}), session_id="s")
    assert state.vars["out"] == {
        "wait_key": "evt:session:s:paid",
        "name": "paid",
        "scope": "session",
        "delivered": 0,
        "delivered_to": [],
        "resumed": [],
    }


def test_listener_receives_the_envelope(kernel: Kernel) -> None:
    waiting = kernel.go(listener({"name": "paid"}), session_id="s")
    payload = {"name": " paid ", "scope": " Session", "payload": {"amount": 5}, "event_id": "e1"}
    state = kernel.go(emitter(payload), session_id="s")
    result = state.vars["out"]
    assert (result["delivered"], result["delivered_to"]) == (1, [waiting.run_id])
    assert result["resumed"] == [{"run_id": waiting.run_id, "status": "running"}]
    assert "available_listeners_in_session" not in result
    listening = kernel.state(waiting.run_id)
    assert (listening.status, listening.current_node) == (RunStatus.RUNNING, "done")
    envelope = listening.vars["out"]
    assert envelope.pop("emitted_at").startswith("2026-01-02T03:04:05.")
    assert envelope == {
        "event_id": "e1",
        "name": "paid",
        "scope": "session",
        "session_id": "s",
        "payload": {"amount": 5},
        "emitter": {"run_id": state.run_id, "workflow_id": "emitter", "node_id": "a"},
    }
    assert kernel.kinds(waiting.run_id)[2:] == ["resume"]


@pytest.mark.parametrize(
    ("given", "received"),
    [(None, {}), ("", {}), (0, {}), ("text", {"value": "text"}), ([1], {"value": [1]}), ({"a": 1}, {"a": 1})],
)
def test_payload_becomes_an_object(kernel: Kernel, given: Any, received: Any) -> None:
    run_id = kernel.go(listener({"name": "e"}), session_id="s").run_id
    emit(kernel, {"event_name": "e", "payload": given})
    assert kernel.state(run_id).vars["out"]["payload"] == received


def test_budget_lets_listeners_go_on_at_once(kernel: Kernel) -> None:
    run_id = kernel.go(listener({"name": "e"}), session_id="s").run_id
    result = emit(kernel, {"name": "e", "max_steps": 10})
    assert result["resumed"] == [{"run_id": run_id, "status": "completed"}]
    assert kernel.state(run_id).status is RunStatus.COMPLETED


def test_terminal_wait_completes_without_budget(kernel: Kernel) -> None:
    run_id = kernel.go(listener({"name": "e"}, then=None), session_id="s").run_id
    assert emit(kernel, {"name": "e"})["resumed"] == [{"run_id": run_id, "status": "completed"}]


@pytest.mark.parametrize(
    ("waits_for", "emitted", "is_heard"),
    [
        ({"name": "e"}, {"name": "e"}, True),
        ({"name": "*"}, {"name": "e"}, True),
        ({"name": "other"}, {"name": "e"}, False),
        ({"name": "e", "session_id": "other"}, {"name": "e"}, False),
        ({"name": "e"}, {"name": "e", "session_id": "other"}, False),
        ({"name": "e", "session_id": "other"}, {"name": "e", "session_id": "other"}, True),
        ({"name": "e", "scope": "global"}, {"name": "e", "scope": "global"}, True),
        ({"name": "*", "scope": "global"}, {"name": "e", "scope": "global"}, True),
        ({"name": "e", "scope": "global"}, {"name": "e"}, False),
        ({"name": "e", "scope": "workflow"}, {"name": "e", "scope": "workflow"}, False),
        (
            {"name": "e", "scope": "workflow"},
            {"name": "e", "scope": "workflow", "workflow_id": "listener"},
            True,
        ),
        ({"wait_key": "evt:session:s:e"}, {"name": "e"}, True),
        ({"names": ["x", "e"]}, {"name": "e"}, True),
    ],
)
def test_who_hears_it(kernel: Kernel, waits_for: Any, emitted: Any, is_heard: bool) -> None:
    run_id = kernel.go(listener(waits_for), session_id="s").run_id
    assert emit(kernel, emitted)["delivered_to"] == ([run_id] if is_heard else [])


def test_envelope_of_other_scopes_has_no_session(kernel: Kernel) -> None:
    run_id = kernel.go(listener({"name": "e", "scope": "global"})).run_id
    emit(kernel, {"name": "e", "scope": "Global"})
    envelope = kernel.state(run_id).vars["out"]
    assert (envelope["scope"], envelope["session_id"]) == ("global", None)


def test_run_without_session_emits_to_itself(kernel: Kernel) -> None:
    state = kernel.go(emitter({"name": "e"}))
    assert state.vars["out"]["wait_key"] == f"evt:session:{state.run_id}:e"


def test_run_scope_reaches_a_named_run(kernel: Kernel) -> None:
    run_id = kernel.go(listener({"name": "e", "scope": "run"})).run_id
    assert emit(kernel, {"name": "e", "scope": "run"})["delivered"] == 0
    assert emit(kernel, {"name": "e", "scope": "run", "run_id": run_id})["delivered_to"] == [run_id]


def test_events_are_not_kept(kernel: Kernel) -> None:
    emit(kernel, {"name": "e"})
    assert kernel.go(listener({"name": "e"}), session_id="s").status is RunStatus.WAITING


def test_paused_listener_is_left_alone(kernel: Kernel) -> None:
    run_id = kernel.go(listener({"name": "e"}), session_id="s").run_id
    kernel.runtime.pause_run(run_id)
    assert emit(kernel, {"name": "e"})["resumed"] == []


def test_unknown_workflow_is_skipped_and_others_go_on(kernel: Kernel) -> None:
    lost = kernel.go(listener({"name": "e"}, "lost"), session_id="s").run_id
    heard = kernel.go(listener({"name": "e"}), session_id="s").run_id
    del kernel.registry["lost"]
    result = emit(kernel, {"name": "e"})
    assert (result["delivered"], result["delivered_to"]) == (1, [heard])
    skipped = {"run_id": lost, "status": "skipped", "error": "workflow_not_registered"}
    assert skipped in result["resumed"]


def test_listener_that_raises_does_not_stop_the_others(kernel: Kernel) -> None:
    def raises(run: RunState, context: RunContext) -> StepPlan:
        raise RuntimeError("bad node")

    bad = kernel.go(flow("bad", a=asks(WAIT, {"name": "e"}, then="b"), b=raises), session_id="s").run_id
    good = kernel.go(listener({"name": "e"}), session_id="s").run_id
    result = emit(kernel, {"name": "e", "max_steps": 5})
    assert result["delivered_to"] == [good]
    assert {"run_id": bad, "status": "error", "error": "bad node"} in result["resumed"]
    assert {"run_id": good, "status": "completed"} in result["resumed"]


def test_listeners_get_copies(kernel: Kernel) -> None:
    runs = [kernel.go(listener({"name": "e"}), session_id="s").run_id for _ in range(2)]
    given = {"items": [1]}
    emit(kernel, {"name": "e", "payload": given})
    states = [kernel.state(run_id) for run_id in runs]
    states[0].vars["out"]["payload"]["items"].append(2)
    assert states[1].vars["out"]["payload"] == given == {"items": [1]}


def test_names_that_the_session_listens_for(kernel: Kernel) -> None:
    for number in range(20):
        kernel.go(listener({"name": f"n{number:02}"}), session_id="s")
    kernel.go(listener({"name": "n19"}), session_id="s")
    kernel.go(listener({"name": "foreign"}), session_id="other")
    names = emit(kernel, {"name": "e"})["available_listeners_in_session"]
    assert len(names) == len(set(names)) == 15
    assert names[:2] == ["n19", "n18"]  # newest first
    assert "available_listeners_in_session" not in emit(kernel, {"name": "n00"})


def test_names_are_shown_too_when_the_only_listener_was_skipped(kernel: Kernel) -> None:
    kernel.go(listener({"name": "e"}, "lost"), session_id="s")
    del kernel.registry["lost"]
    assert emit(kernel, {"name": "e"})["available_listeners_in_session"] == ["e"]


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({}, "emit_event requires payload.name"),
        ({"name": " "}, "emit_event requires payload.name"),
        ({"name": 5}, "emit_event requires payload.name"),
        ({"name": "e", "scope": "Moon"}, "emit_event invalid payload: unknown event scope: 'Moon'"),
        (
            {"name": "e", "session_id": " "},
            "emit_event invalid payload: missing scope id for scope='session'",
        ),
    ],
)
def test_refused(kernel: Kernel, payload: Any, error: str) -> None:
    assert refusal(kernel, payload) == error


def test_listeners_need_a_registry(kernel: Kernel) -> None:
    kernel.go(listener({"name": "e"}), session_id="s")
    kernel.use(workflow_registry=None)
    error = refusal(kernel, {"name": "e"})
    assert error.startswith("emit_event requires a workflow_registry to resume target runs. ")


def test_needs_a_store_that_can_be_asked() -> None:
    kernel = Kernel(BareRunStore(), PlainLedgerStore())
    error = refusal(kernel, {"name": "e"})
    assert error.startswith("emit_event requires a QueryableRunStore to find waiting runs. ")
