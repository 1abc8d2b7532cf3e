"""Every message of the catalogue, word for word, as clients match on them (`spec/01 §17`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.spec import WorkflowSpec

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import BareRunStore, PlainLedgerStore

Provoke = Callable[[Kernel], Any]

ASK = flow("ask", a=asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"}), done=done)


def unknown(call: Callable[[Kernel], Any]) -> tuple[type[Exception], str, Provoke]:
    return KeyError, "Unknown run_id: nope", call


def paused(kernel: Kernel) -> str:
    workflow = flow("paused", a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.runtime.pause_run(run_id)
    return str(kernel.resume(workflow, run_id, 1).status)


def ended(kernel: Kernel) -> Any:
    run_id = kernel.go(ASK).run_id
    kernel.runtime.cancel_run(run_id)
    return kernel.resume(ASK, run_id, 1)


LOST = WorkflowSpec("lost", "gone", {"a": done})
NOWHERE = flow("nowhere", a=lambda run, context: StepPlan("a"))

RAISED: dict[str, tuple[type[Exception], str, Provoke]] = {
    "tick": unknown(lambda k: k.tick(ASK, "nope")),
    "resume": unknown(lambda k: k.resume(ASK, "nope", 1)),
    "cancel": unknown(lambda k: k.runtime.cancel_run("nope")),
    "pause": unknown(lambda k: k.runtime.pause_run("nope")),
    "unpause": unknown(lambda k: k.runtime.resume_run("nope")),
    "state": unknown(lambda k: k.runtime.get_state("nope")),
    "traces": unknown(lambda k: k.runtime.get_node_traces("nope")),
    "trace": unknown(lambda k: k.runtime.get_node_trace("nope", "a")),
    "evidence list": unknown(lambda k: k.runtime.list_evidence("nope")),
    "limit status": unknown(lambda k: k.runtime.get_limit_status("nope")),
    "limit updates": unknown(lambda k: k.runtime.update_limits("nope", {})),
    "paused": (ValueError, "Run is paused", paused),
    "not waiting": (ValueError, "Run is not waiting", ended),
    "other key": (
        ValueError,
        "wait_key mismatch: expected 'k', got 'other'",
        lambda k: k.resume(ASK, k.go(ASK).run_id, 1, wait_key="other"),
    ),
    "no way on": (ValueError, "Node 'a' returned no effect and no next_node", lambda k: k.go(NOWHERE)),
    "unknown node": (KeyError, "Unknown node_id 'gone' in workflow 'lost'", lambda k: k.go(LOST)),
    "subscription": (
        RuntimeError,
        "Configured LedgerStore does not support subscriptions.",
        lambda k: Kernel(BareRunStore(), PlainLedgerStore()).runtime.subscribe_ledger(print),
    ),
    "evidence": (
        RuntimeError,
        "Evidence requires an ArtifactStore;",
        lambda k: k.runtime.load_evidence("e"),
    ),
}


@pytest.mark.parametrize("case", RAISED)
def test_errors_raised(kernel: Kernel, case: str) -> None:
    kind, text, provoke = RAISED[case]
    with pytest.raises(kind) as raised:
        provoke(kernel)
    assert str(raised.value).startswith(text)


def raises(run: RunState, effect: Any) -> EffectOutcome:
    raise LookupError("broken")


def fails(run: RunState, effect: Any) -> EffectOutcome:
    return EffectOutcome.failed("no")


def bad_node(run: RunState, context: Any) -> StepPlan:
    raise LookupError("broken")


EMIT, WAIT, CHILD = EffectType.EMIT_EVENT, EffectType.WAIT_EVENT, EffectType.START_SUBWORKFLOW
BAD_SCOPE = {"name": "e", "scope": "moon"}
UNKNOWN_SCOPE = "unknown event scope: 'moon'"

FAILED: dict[str, tuple[EffectType, Any, str]] = {
    "handler exception": (EffectType.LLM_CALL, {}, "Effect handler raised exception: broken"),
    "missing handler": (EffectType.TOOL_CALLS, {}, "No effect handler registered for tool_calls"),
    "child failed": (
        CHILD,
        {"workflow_id": "failing"},
        "Subworkflow 'failing' failed: Effect failed after 1 attempts: ask_user requires payload.prompt",
    ),
    "child raised": (CHILD, {"workflow_id": "raising"}, "Subworkflow 'raising' failed: broken"),
    "unknown child": (CHILD, {"workflow_id": "nope"}, "Workflow 'nope' not found in registry"),
    "no child": (CHILD, {}, "start_subworkflow requires payload.workflow_id"),
    "child cancelled": (CHILD, {"workflow_id": "cancelled"}, "Unexpected subworkflow status: cancelled"),
    "emit without name": (EMIT, {"name": " "}, "emit_event requires payload.name"),
    "emit with a bad scope": (EMIT, BAD_SCOPE, f"emit_event invalid payload: {UNKNOWN_SCOPE}"),
    "wait without name": (WAIT, {}, "wait_event requires payload.wait_key or payload.name"),
    "wait with a bad scope": (WAIT, BAD_SCOPE, f"wait_event invalid payload: {UNKNOWN_SCOPE}"),
    "ask without prompt": (EffectType.ASK_USER, {}, "ask_user requires payload.prompt"),
    "answer without message": (EffectType.ANSWER_USER, {}, "answer_user requires payload.message"),
    "no time": (EffectType.WAIT_UNTIL, {}, "wait_until requires payload.until (ISO timestamp)"),
}


@pytest.mark.parametrize("case", FAILED)
def test_errors_of_effects(kernel: Kernel, case: str) -> None:
    kind, payload, text = FAILED[case]
    kernel.use(effect_handlers={EffectType.LLM_CALL: raises, EffectType.MEMORY_KG_QUERY: cancels(kernel)})
    kernel.know(
        flow("failing", a=asks(EffectType.ASK_USER, {})),
        flow("raising", a=bad_node),
        flow("cancelled", a=asks(EffectType.MEMORY_KG_QUERY, {}), done=done),
    )
    state = kernel.go(flow(a=asks(kind, payload), done=done), session_id="s")
    assert state.status is RunStatus.FAILED
    assert state.error == f"Effect failed after 1 attempts: {text}"
    failure = next(record for record in kernel.ledger(state.run_id) if record["status"] == "failed")
    assert failure["error"] == text


def cancels(kernel: Kernel) -> Any:
    def handler(run: RunState, effect: Any) -> EffectOutcome:
        kernel.runtime.cancel_run(run.run_id)
        return EffectOutcome.completed({})

    return handler


def test_children_need_a_registry(kernel: Kernel) -> None:
    kernel.use(workflow_registry=None)
    error = kernel.go(flow(a=asks(CHILD, {"workflow_id": "w"}))).error or ""
    assert error.startswith(
        "Effect failed after 1 attempts: start_subworkflow requires a workflow_registry. "
    )


def test_listeners_need_a_registry(kernel: Kernel) -> None:
    kernel.go(flow(a=asks(WAIT, {"name": "e"}), done=done), session_id="s")
    kernel.use(workflow_registry=None)
    error = kernel.go(flow(a=asks(EMIT, {"name": "e"})), session_id="s").error or ""
    assert "emit_event requires a workflow_registry to resume target runs. " in error


def test_the_number_of_attempts_is_named(kernel: Kernel) -> None:
    kernel.use(
        effect_handlers={EffectType.LLM_CALL: fails},
        effect_policy=RetryPolicy(llm_max_attempts=3, backoff_base=0),
    )
    state = kernel.go(flow(a=asks(EffectType.LLM_CALL, {})))
    assert state.error == "Effect failed after 3 attempts: no"


def test_a_cancelled_run_says_so(kernel: Kernel) -> None:
    assert kernel.runtime.cancel_run(kernel.start(ASK)).error == "Cancelled"
    assert kernel.runtime.cancel_run(kernel.start(ASK), reason="why").error == "why"
