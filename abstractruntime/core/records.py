"""The ledger records that are not effect attempts: completion, resume, control, terminal status event.

Their shapes are contract (`spec/01 §10.14`): clients match on them.
"""

from __future__ import annotations

from typing import Any

from .environment import Environment
from .json_safe import json_safe
from .models import RunState, StepRecord, StepStatus, WaitState

__all__ = [
    "completion",
    "completion_by_resume",
    "control",
    "node_failure",
    "resumption",
    "resumption_failure",
    "status_event",
]


def _record(run: RunState, env: Environment, status: StepStatus, **fields: Any) -> StepRecord:
    now = env.now_iso()
    return StepRecord(
        run_id=run.run_id,
        step_id=env.new_id(),
        node_id=fields.pop("node_id", None) or run.current_node or "unknown",
        status=status,
        started_at=now,
        ended_at=now,
        actor_id=run.actor_id,
        session_id=run.session_id,
        **fields,
    )


def completion(run: RunState, env: Environment, *, node_id: str | None = None) -> StepRecord:
    """The run has completed with ``run.output``."""
    result = {"completed": True, "output": json_safe(run.output)}
    return _record(run, env, StepStatus.COMPLETED, node_id=node_id, result=result)


def completion_by_resume(run: RunState, wait: WaitState, env: Environment) -> StepRecord:
    """A terminal wait was resumed, which completed the run."""
    result = {
        "completed": True,
        "via": "resume",
        "wait_reason": wait.reason.value,
        "wait_key": wait.wait_key,
        "output": json_safe(run.output),
    }
    return _record(run, env, StepStatus.COMPLETED, result=result)


def _resume_effect(wait: WaitState, payload: Any) -> dict[str, Any]:
    return {
        "type": "resume",
        "payload": {
            "wait_reason": wait.reason.value,
            "wait_key": wait.wait_key,
            "resume_to_node": wait.resume_to_node,
            "result_key": wait.result_key,
            "payload": payload,
        },
        "result_key": None,
    }


def resumption(run: RunState, wait: WaitState, payload: Any, env: Environment) -> StepRecord:
    """The run's wait was resumed with ``payload`` (as stored)."""
    effect = _resume_effect(wait, payload)
    return _record(run, env, StepStatus.COMPLETED, effect=effect, result={"resumed": True})


def resumption_failure(run: RunState, wait: WaitState, error: str, env: Environment) -> StepRecord:
    """What the run waited for has failed, and the run with it."""
    return _record(run, env, StepStatus.FAILED, effect=_resume_effect(wait, None), error=error)


def control(run: RunState, verb: str, payload: dict[str, Any], env: Environment) -> StepRecord:
    """Somebody paused, unpaused, retried the run or changed its limits.

    Additional to the published records (`spec/01 §19.16`): old readers skip unknown effect types.
    """
    effect = {"type": verb, "payload": payload, "result_key": None}
    return _record(run, env, StepStatus.COMPLETED, effect=effect, result={verb: True})


def node_failure(run: RunState, error: str, env: Environment, *, attempt: int = 1) -> StepRecord:
    """The node's own code raised (only drivers that record it: `spec/01 §3.4`)."""
    return _record(run, env, StepStatus.FAILED, error=error, attempt=attempt)


def status_event(run: RunState, env: Environment) -> StepRecord:
    """The last record of every run that ended: ``abstract.status``. A record only, not delivered."""
    status = run.status.value
    text = {"text": status}
    event = {"name": "abstract.status", "scope": "session", "payload": text}
    return _record(
        run,
        env,
        StepStatus.COMPLETED,
        node_id=run.current_node or "runtime",
        effect={"type": "emit_event", "payload": event, "result_key": None},
        result={"emitted": True, "name": "abstract.status", "payload": {"text": status}},
        idempotency_key=f"system:terminal_status:{status}",
    )
