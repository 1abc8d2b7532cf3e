"""How a waiting run goes on: a signal, the clock, or the end of a child (`spec/01 §13`)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from . import records
from .control import is_backing_off, is_paused, try_again
from .environment import Environment
from .errors import WaitMismatchError
from .models import RunState, RunStatus, WaitReason, WaitState
from .times import parse_time
from .tool_results import merge_tool_results, tool_result, wrap_child_payload
from .transition import Transition, changed, failed
from .vars import set_result_path

__all__ = [
    "can_go_on",
    "check_resumable",
    "child_ended",
    "due_time",
    "resumed",
    "stored_payload",
    "wait_keys",
    "woken",
]


def wait_keys(wait: WaitState) -> list[str]:
    """All keys that unblock the wait: its own, and those of a wait for any of several."""
    own = [] if wait.wait_key is None else [wait.wait_key]
    several = (wait.details or {}).get("wait_keys")
    if not isinstance(several, list):
        return own
    return list(dict.fromkeys([*own, *(str(key) for key in several)]))


def check_resumable(run: RunState, wait_key: str | None) -> WaitState:
    """The run's wait, if ``wait_key`` may resume it; ``None`` matches any (`spec/01 §9.3`).

    Raises:
        WaitMismatchError: the run is paused, is not waiting, or waits for another key.
    """
    if is_paused(run):
        raise WaitMismatchError("Run is paused")
    wait = run.waiting
    if run.status is not RunStatus.WAITING or wait is None:
        raise WaitMismatchError("Run is not waiting")
    if wait_key is not None and wait.wait_key is not None and wait_key not in wait_keys(wait):
        raise WaitMismatchError(f"wait_key mismatch: expected '{wait.wait_key}', got '{wait_key}'")
    return wait


def can_go_on(run: RunState, env: Environment) -> bool:
    """Whether a tick may drive the run: it is RUNNING, or what it waits for is due; and not paused."""
    if is_paused(run):
        return False
    if run.status is RunStatus.RUNNING:
        return True
    due = due_time(run)
    return due is not None and env.now() >= due


def stored_payload(wait: WaitState, payload: Any) -> Any:
    """What of ``payload`` is stored (`spec/01 §13.4`, §13.5). Applied twice it changes nothing more."""
    return merge_tool_results(wait, wrap_child_payload(wait, payload)) if wait.result_key else payload


def resumed(
    run: RunState,
    payload: Any,
    env: Environment,
    *,
    override_node: str | None = None,
    recorded: Callable[[Any], Any] | None = None,
) -> Transition:
    """The run goes on with ``payload``; a terminal wait completes it (`spec/01 §10.9`, §10.10).

    The caller has checked with `check_resumable`. ``recorded`` gives what the ledger shows of the payload,
    if not all of it.
    """
    wait = run.waiting
    if wait is None:
        raise WaitMismatchError("Run is not waiting")
    if is_backing_off(run):
        return try_again(run, env)
    stored = stored_payload(wait, payload)
    if wait.result_key:
        set_result_path(run.vars, wait.result_key, stored)
    record = records.resumption(run, wait, stored if recorded is None else recorded(stored), env)
    node = override_node or wait.resume_to_node
    if node:
        new = changed(run, env, status=RunStatus.RUNNING, waiting=None, current_node=node)
        return Transition(new, records=[record])
    output = {"success": True, "result": stored}
    new = changed(run, env, status=RunStatus.COMPLETED, waiting=None, output=output)
    closing = [records.completion_by_resume(new, wait, env), records.status_event(new, env)]
    return Transition(new, records=[record], closing=closing)


def due_time(run: RunState) -> datetime | None:
    """When the run's timer or time-out is due; ``None`` when it has none.

    A stored time that can't be parsed counts as due at once, so that the run shows its error (`woken`)
    instead of sleeping for ever (`spec/01 §19.11`).
    """
    if run.status is not RunStatus.WAITING or run.waiting is None or not run.waiting.until:
        return None
    try:
        return parse_time(run.waiting.until)
    except ValueError:
        return datetime.min.replace(tzinfo=timezone.utc)


def woken(run: RunState, env: Environment) -> Transition:
    """The run's time has come: a timer fires, any other wait times out.

    A timer stores what an already due one stores, ``{"until", "ready": true}`` (`spec/01 §13.2`); a
    time-out stores ``{"timed_out": true, "until"}``.
    """
    wait = run.waiting
    if wait is None:
        raise WaitMismatchError("Run is not waiting")
    try:
        parse_time(wait.until or "")
    except ValueError as exc:
        error = f"{wait.reason.value} wait with an unreadable time: {exc}"
        reasons = [records.resumption_failure(run, wait, error, env)]
        return failed(run, f"Effect failed after 1 attempts: {error}", env, reasons=reasons)
    if wait.reason is WaitReason.UNTIL:
        return resumed(run, {"until": wait.until, "ready": True}, env)
    return resumed(run, {"timed_out": True, "until": wait.until}, env)


def child_ended(
    parent: RunState, child: RunState, env: Environment, *, traces: Any = None
) -> Transition | None:
    """The child a parent waits for has ended; ``None`` when the parent doesn't wait for it (any more).

    A failed or cancelled child fails its parent, unless the parent asked for a tool result
    (`spec/01 §12.6`, §13.4).
    """
    wait = parent.waiting
    if parent.status is not RunStatus.WAITING or wait is None or is_paused(parent):
        return None
    if wait.reason is not WaitReason.SUBWORKFLOW or wait.wait_key != f"subworkflow:{child.run_id}":
        return None
    if child.status is RunStatus.COMPLETED:
        payload: dict[str, Any] = {"sub_run_id": child.run_id, "output": child.output}
        if traces is not None:
            payload["node_traces"] = traces
        return resumed(parent, payload, env)
    error = _child_failure(child)
    details = wait.details or {}
    if details.get("wrap_as_tool_result"):
        name = str(details.get("tool_name") or "start_subworkflow")
        return resumed(
            parent, tool_result(str(details.get("call_id") or "subworkflow"), name, error=error), env
        )
    record = records.resumption_failure(parent, wait, error, env)
    return failed(parent, f"Effect failed after 1 attempts: {error}", env, reasons=[record])


def _child_failure(child: RunState) -> str:
    if child.status is RunStatus.FAILED:
        return f"Subworkflow '{child.workflow_id}' failed: {child.error}"
    return f"Unexpected subworkflow status: {child.status.value}"
