"""Host results put back into a tool wait (`spec/01 §13.5`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome

from .flows import asks, done, flow
from .kernel import Kernel

MISSING = {
    "call_id": "",
    "runtime_call_id": None,
    "name": "",
    "success": False,
    "output": None,
    "error": "Missing tool result",
}
BLOCKED, PRE = {"call_id": "blocked"}, {"call_id": "pre"}
FIRST, SECOND, THIRD = ({"call_id": str(n)} for n in (1, 2, 3))


def resumed(
    kernel: Kernel,
    details: dict[str, Any] | None,
    payload: Any,
    *,
    key: str | None = "out",
    then: Any = "done",
) -> tuple[RunState, Any]:
    def handler(run: RunState, effect: Effect, next_node: str | None) -> EffectOutcome:
        wait = WaitState(
            WaitReason.EVENT,
            f"tool_calls:{run.run_id}:{run.current_node}",
            resume_to_node=next_node,
            result_key=effect.result_key,
            details=details,
        )
        return EffectOutcome.waiting(wait)

    kernel.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    workflow = flow(a=asks(EffectType.TOOL_CALLS, {"tool_calls": []}, key=key, then=then), done=done)
    run_id = kernel.go(workflow).run_id
    state = kernel.resume(workflow, run_id, payload)
    return state, kernel.ledger(run_id)[2]["effect"]["payload"]["payload"]


def fixed(count: Any, blocked: Any = None, pre: Any = None) -> dict[str, Any]:
    details = {"mode": "approval_required", "original_call_count": count}
    if blocked is not None:
        details["blocked_by_index"] = blocked
    if pre is not None:
        details["pre_results_by_index"] = pre
    return details


@pytest.mark.parametrize(
    ("details", "results", "merged"),
    [
        (fixed(3, {"1": BLOCKED}), [FIRST, SECOND], [FIRST, BLOCKED, SECOND]),
        (fixed(3, {"0": BLOCKED}, {"2": PRE}), [FIRST], [BLOCKED, FIRST, PRE]),
        (fixed(2, {"0": BLOCKED}, {"0": PRE}), [FIRST], [PRE, FIRST]),
        (fixed(3, {"0": BLOCKED}), [FIRST], [BLOCKED, FIRST, MISSING]),
        (fixed(2, {"0": BLOCKED}), [FIRST, SECOND, THIRD], [BLOCKED, FIRST]),
        (fixed(2, {"0": BLOCKED}), [], [BLOCKED, MISSING]),
        (fixed(2, {"0": BLOCKED}), [{}], [BLOCKED, {}]),
        (fixed(2, {"0": BLOCKED}), [FIRST, SECOND], [FIRST, SECOND]),  # the host answered all
        (fixed(3), [FIRST], [FIRST]),  # nothing was fixed
        (fixed(3, {}, {}), [FIRST], [FIRST]),
        (fixed(0, {"0": BLOCKED}), [FIRST], [FIRST]),
        (fixed("3", {"0": BLOCKED}), [FIRST], [FIRST]),
        (fixed(True, {"0": BLOCKED}), [FIRST, SECOND], [FIRST, SECOND]),
        (fixed(3, "text", [1]), [FIRST], [FIRST]),
    ],
)
def test_merge(kernel: Kernel, details: Any, results: Any, merged: Any) -> None:
    state, recorded = resumed(kernel, details, {"mode": "host", "results": results, "extra": 1})
    assert state.output == {"out": {"mode": "host", "results": merged, "extra": 1}}
    assert recorded == state.vars["out"]


def test_mode_defaults_to_executed(kernel: Kernel) -> None:
    state, _ = resumed(kernel, fixed(2, {"0": BLOCKED}), {"results": [FIRST]})
    assert state.vars["out"] == {"mode": "executed", "results": [BLOCKED, FIRST]}


@pytest.mark.parametrize("payload", ["text", None, [FIRST], {"results": "text"}, {"other": 1}])
def test_other_payloads_are_stored_as_they_are(kernel: Kernel, payload: Any) -> None:
    state, _ = resumed(kernel, fixed(2, {"0": BLOCKED}), payload)
    assert state.vars["out"] == payload


def test_without_result_key_nothing_is_merged(kernel: Kernel) -> None:
    _, recorded = resumed(kernel, fixed(2, {"0": BLOCKED}), {"results": [FIRST]}, key=None)
    assert recorded == {"results": [FIRST]}


def test_output_of_a_terminal_tool_wait_is_merged(kernel: Kernel) -> None:
    state, _ = resumed(kernel, fixed(2, {"0": BLOCKED}), {"results": [FIRST]}, then=None)
    merged = {"mode": "executed", "results": [BLOCKED, FIRST]}
    assert state.output == {"success": True, "result": merged}
