"""The wait of a batch that somebody else executes (`spec/04 §7.7`, `spec/01 §13.5`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from abstractruntime.core.models import Effect, RunState, WaitReason, WaitState

from .plan import PlannedCall
from .shapes import ToolCall, ToolResult

__all__ = ["tool_wait"]

_DELEGATED = "delegated"


def tool_wait(
    run: RunState,
    effect: Effect,
    default_next: str | None,
    planned: Sequence[PlannedCall],
    results: Mapping[int, ToolResult],
    answer: Mapping[str, Any],
) -> WaitState:
    """What the run waits for, and what its host must know.

    Args:
        default_next: where the run goes on unless the payload says it.
        planned: the whole batch; the calls without a result are exposed.
        results: what is answered already, by index.
        answer: the executor's, with a mode other than ``executed``.
    """
    mode = str(answer["mode"])
    exposed = answer.get("tool_calls")
    if not isinstance(exposed, list):
        exposed = [each.call for each in planned if each.index not in results]
    details: dict[str, Any] = {"mode": mode, "tool_calls": exposed}
    if isinstance(answer.get("details"), dict):
        details["executor"] = answer["details"]
    if results:
        details.update(_answered(planned, results))
    payload = effect.payload
    wait_key = _given(payload.get("wait_key")) or _given(answer.get("wait_key"))
    return WaitState(
        reason=_reason(answer.get("wait_reason"), mode),
        wait_key=wait_key or f"tool_calls:{run.run_id}:{run.current_node}",
        resume_to_node=_given(payload.get("resume_to_node")) or default_next,
        result_key=effect.result_key,
        details=details,
    )


def _given(value: Any) -> str | None:
    """As it is; a blank one is none, since no host could tell it from none."""
    text = str(value) if value else ""
    return text if text.strip() else None


def _answered(planned: Sequence[PlannedCall], results: Mapping[int, ToolResult]) -> dict[str, Any]:
    """What the host's results are put among when the run goes on."""
    blocked = {each.index for each in planned if each.is_blocked}
    return {
        "original_call_count": len(planned),
        "blocked_by_index": {str(i): result for i, result in results.items() if i in blocked},
        "pre_results_by_index": {str(i): result for i, result in results.items() if i not in blocked},
        "tool_calls_for_evidence": [_for_evidence(each) for each in planned],
    }


def _for_evidence(planned: PlannedCall) -> ToolCall:
    """A blocked call has lost its arguments already."""
    call = planned.call
    return {key: call.get(key) for key in ("name", "arguments", "call_id", "runtime_call_id")}


def _reason(given: Any, mode: str) -> WaitReason:
    if given is None or given == "":
        return WaitReason.JOB if mode == _DELEGATED else WaitReason.EVENT
    try:
        return WaitReason(given.value if isinstance(given, WaitReason) else str(given).strip().lower())
    except ValueError:
        return WaitReason.EVENT
