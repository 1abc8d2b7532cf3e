"""What one step changes: a new checkpoint and the ledger records that go with it.

Pure functions: (run, plan, outcome) -> `Transition`. The in-process `Runtime` applies a transition to
whatever stores it was given; a fleet applies it in one SQL transaction (`DESIGN §2`). The state passed in
is never changed; its ``vars`` are (they belong to the step), so a transition that is not committed must be
dropped together with the state it came from.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from . import records
from .effect_step import EffectStep
from .environment import Environment
from .making import bare
from .members import LLM_CALL, STEP_COMPLETED
from .models import RunState, RunStatus, StepPlan, StepRecord, StepStatus
from .outcome import EffectOutcome, failed_effect
from .step_stamp import next_after
from .traces import mark_reused, mark_traced
from .vars import ensure_limits, set_result_path

__all__ = [
    "Transition",
    "advanced",
    "changed",
    "completed_by_plan",
    "effect_completed",
    "effect_ended",
    "effect_record",
    "failed",
]


@dataclass(slots=True)
class Transition:
    """One step's change of one run.

    Attributes:
        run: the new checkpoint.
        records: ledger records that precede the checkpoint, in order.
        closing: records that follow a terminal checkpoint (completion, status event), in order
            (`spec/01 §10`).
    """

    run: RunState
    records: list[StepRecord] = field(default_factory=list)
    closing: list[StepRecord] = field(default_factory=list)


def changed(run: RunState, env: Environment, now: str | None = None, **fields: Any) -> RunState:
    """A copy of the state with some fields set and ``updated_at`` moved on; ``vars`` is shared.

    ``updated_at`` grows strictly, whatever the clock does: it names the step (`step_stamp`). ``now``: what
    the clock has just said, if somebody has asked it.
    """
    new = bare(RunState)  # what copy.copy does, without its detours: this is every step's path
    new.__dict__ = {**run.__dict__, **fields}
    if now is None:
        now = env.now_iso()
    new.updated_at = now if now > run.updated_at else next_after(run.updated_at, now)
    return new


def completed_by_plan(run: RunState, plan: StepPlan, env: Environment) -> Transition:
    """The node returned ``complete_output`` (`spec/01 §10.3`)."""
    new = changed(run, env, status=RunStatus.COMPLETED, output=plan.complete_output, waiting=None)
    closing = [records.completion(new, env, node_id=plan.node_id), records.status_event(new, env)]
    return Transition(new, closing=closing)


def advanced(run: RunState, plan: StepPlan, env: Environment) -> Transition:
    """The node returned a pure transition (`spec/01 §10.2`): no ledger record.

    Raises:
        ValueError: the plan names no next node; nothing may be persisted (`spec/01 §3.3`).
    """
    if not plan.next_node:
        raise ValueError(f"Node '{plan.node_id}' returned no effect and no next_node")
    return Transition(changed(run, env, current_node=plan.next_node))


def failed(
    run: RunState, error: str, env: Environment, *, reasons: list[StepRecord] | None = None
) -> Transition:
    """The run ends FAILED with ``error``; ``reasons`` are records that tell why."""
    new = changed(run, env, status=RunStatus.FAILED, error=error, waiting=None)
    return Transition(new, records=reasons or [], closing=[records.status_event(new, env)])


def effect_record(run: RunState, step: EffectStep, outcome: EffectOutcome, env: Environment) -> StepRecord:
    """The outcome record of the step's claimed attempt."""
    record = step.record(run)
    record.ended_at = env.now_iso()
    if outcome.status == "completed":
        record.status, record.result = STEP_COMPLETED, outcome.result
    elif outcome.status == "waiting" and outcome.wait is not None:
        record.status, record.result = StepStatus.WAITING, {"wait": outcome.wait.to_dict()}
    else:
        record.status, record.error = StepStatus.FAILED, outcome.error or "unknown error"
        if outcome.kind is not None:
            record.result = {"error_kind": outcome.kind}
    return record


def effect_ended(
    run: RunState, step: EffectStep, outcome: EffectOutcome, env: Environment, *, reused: bool = False
) -> Transition:
    """What follows from an effect's final outcome (`spec/01 §10.4` to §10.8).

    The attempt records are not part of it: the driver appends them as they happen. A failed outcome is
    final here: attempts are used up.
    """
    if outcome.status == "completed":
        return effect_completed(run, step, outcome.result, env, reused=reused)
    mark_traced(run)
    if outcome.status == "waiting" and outcome.wait is not None:
        return Transition(changed(run, env, status=RunStatus.WAITING, waiting=outcome.wait))
    return failed(run, failed_effect(step.attempt, outcome.error), env)


def effect_completed(
    run: RunState,
    step: EffectStep,
    result: dict[str, Any] | None,
    env: Environment,
    *,
    reused: bool = False,
    now: str | None = None,
) -> Transition:
    """`effect_ended` of a completed effect; ``result`` becomes the run's own. ``now``: when it ended."""
    mark_traced(run)
    if reused:
        mark_reused(run, step, env.now_iso())
    if step.effect.type is LLM_CALL:
        _account_tokens(run, result)
    if step.effect.result_key and result is not None:
        set_result_path(run.vars, step.effect.result_key, result)
    if step.next_node:
        return Transition(changed(run, env, now, current_node=step.next_node))
    output = {"success": True, "result": result}
    new = changed(run, env, status=RunStatus.COMPLETED, output=output, waiting=None)
    closing = [records.completion(new, env, node_id=step.node_id), records.status_event(new, env)]
    return Transition(new, closing=closing)


def _account_tokens(run: RunState, result: dict[str, Any] | None) -> None:
    """Last-known size of the prompt, not a sum (`spec/01 §11.2`)."""
    usage = result.get("usage") if isinstance(result, dict) else None
    if not isinstance(usage, dict):
        return
    names = ("input_tokens", "prompt_tokens", "total_tokens")
    value = next((usage[name] for name in names if usage.get(name) is not None), None)
    if value is None or isinstance(value, bool):
        return
    try:
        tokens = int(value)
    except (TypeError, ValueError, OverflowError):
        return
    ensure_limits(run.vars)["estimated_tokens_used"] = tokens
