"""START_SUBWORKFLOW (`spec/01 §12.6`)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from ..models import Effect, RunState, RunStatus, WaitReason, WaitState
from ..outcome import EffectOutcome
from ..tool_results import child_error, subworkflow_output, tool_result
from .scope import ChildStart, EffectScope, ScopeError, payload_of, resume_node

__all__ = ["start_subworkflow"]

WORKSPACE_KEYS = (
    "workspace_root",
    "workspace_access_mode",
    "workspace_allowed_paths",
    "workspace_ignored_paths",
)


def start_subworkflow(
    run: RunState, effect: Effect, default_next: str | None, scope: EffectScope
) -> EffectOutcome:
    """Start a child run: wait for its end (default), start and go on (``async``), or both (``wait``)."""
    payload = payload_of(effect)
    workflow_id = str(payload.get("workflow_id") or "").strip()
    if not workflow_id:
        return _refused(payload, "start_subworkflow requires payload.workflow_id")
    try:
        workflow = scope.find_workflow(workflow_id)
        if workflow is None:
            return _refused(payload, f"Workflow '{workflow_id}' not found in registry")
        detached = bool(payload.get("async"))
        start = ChildStart(run, workflow, _child_vars(run, payload), _session(run, payload), detached)
        child = scope.start_child(start)
    except ScopeError as exc:
        return _refused(payload, str(exc))
    if detached and not payload.get("wait"):
        return _completed(payload, {"sub_run_id": child.run_id, "async": True}, started=child)
    return _progress(run, effect, default_next, child, scope)


def _progress(
    run: RunState, effect: Effect, default_next: str | None, child: RunState, scope: EffectScope
) -> EffectOutcome:
    payload = payload_of(effect)
    if child.status is RunStatus.COMPLETED:
        result = {"sub_run_id": child.run_id, "output": child.output}
        if payload.get("include_traces"):
            result["node_traces"] = scope.child_traces(child.run_id)
        return _completed(payload, result)
    if child.status is RunStatus.FAILED:
        return _refused(payload, f"Subworkflow '{child.workflow_id}' failed: {child.error}")
    if child.status is RunStatus.CANCELLED:
        return _refused(payload, f"Unexpected subworkflow status: {child.status.value}")
    wait = WaitState(
        reason=WaitReason.SUBWORKFLOW,
        wait_key=f"subworkflow:{child.run_id}",
        resume_to_node=resume_node(effect, default_next),
        result_key=effect.result_key,
        details=_details(payload, child),
    )
    return EffectOutcome.waiting(wait)


def _details(payload: dict[str, Any], child: RunState) -> dict[str, Any]:
    details: dict[str, Any] = {
        "sub_run_id": child.run_id,
        "sub_workflow_id": child.workflow_id,
        "include_traces": bool(payload.get("include_traces")),
    }
    if payload.get("async"):
        details["async"] = True
    elif child.waiting is not None:
        details["sub_waiting"] = {"reason": child.waiting.reason.value, "wait_key": child.waiting.wait_key}
    if payload.get("wrap_as_tool_result"):
        name, call_id = _tool_names(payload)
        details.update(wrap_as_tool_result=True, tool_name=name, call_id=call_id)
    return details


def _tool_names(payload: dict[str, Any]) -> tuple[str, str]:
    name = payload.get("tool_name") or payload.get("toolName") or "start_subworkflow"
    call_id = payload.get("call_id") or payload.get("callId") or "subworkflow"
    return str(name), str(call_id)


def _refused(payload: dict[str, Any], error: str) -> EffectOutcome:
    if not payload.get("wrap_as_tool_result"):
        return EffectOutcome.failed(error)
    name, call_id = _tool_names(payload)
    return EffectOutcome.completed(tool_result(call_id, name, error=error))


def _completed(
    payload: dict[str, Any], result: dict[str, Any], *, started: RunState | None = None
) -> EffectOutcome:
    if not payload.get("wrap_as_tool_result"):
        return EffectOutcome.completed(result)
    name, call_id = _tool_names(payload)
    output: dict[str, Any]
    if started is not None:
        output = {"rendered": f"Started subworkflow {started.workflow_id}", **result}
    else:
        error = child_error(result["output"])
        if error is not None:
            return EffectOutcome.completed(tool_result(call_id, name, error=error))
        output = subworkflow_output(result["output"], result["sub_run_id"])
    return EffectOutcome.completed(tool_result(call_id, name, output=output))


def _child_vars(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
    """The child's own copy of its variables, with the parent's workspace where it has none."""
    given = payload.get("vars")
    vars = deepcopy(given) if isinstance(given, dict) else {}
    for key in WORKSPACE_KEYS:
        value = run.vars.get(key)
        if key in vars or value is None or (isinstance(value, str) and not value.strip()):
            continue
        vars[key] = deepcopy(value)
    return vars


def _session(run: RunState, payload: dict[str, Any]) -> str | None:
    for given in (payload.get("session_id"), payload.get("sessionId")):
        if isinstance(given, str) and given.strip():
            return given.strip()
    return run.session_id
