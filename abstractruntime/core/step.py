"""From a node's plan to an effect step (`spec/01 §3.3`, §5)."""

from __future__ import annotations

import json

from .effect_step import EffectStep
from .errors import InvalidInputError
from .members import TOOL_CALLS
from .models import Effect, RunState, StepPlan
from .policy import EffectPolicy, with_runtime_call_ids

__all__ = ["begin_effect", "checked_plan", "not_json", "unencodable_step"]

_encode = json.JSONEncoder().encode


def checked_plan(plan: object, node_id: str) -> StepPlan:
    """What a node returned, if it is a plan.

    Raises:
        InvalidInputError: it is something else.
    """
    if not isinstance(plan, StepPlan):
        raise InvalidInputError(
            f"Node '{node_id}' returned {type(plan).__name__}; a node must return a StepPlan"
        )
    return plan


def not_json(value: object, what: str) -> str | None:
    """Why ``value`` has no JSON form, or ``None`` if it has one; ``what`` names it."""
    try:
        _encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        return f"{what} is not JSON-serialisable: {exc}"
    return None


def begin_effect(run: RunState, plan: StepPlan, policy: EffectPolicy) -> EffectStep | str:
    """The effect step of a plan, or why it can't begin (its payload is not JSON)."""
    effect = plan.effect
    if effect is None:
        raise InvalidInputError(f"Node '{plan.node_id}' asked for no effect")
    try:
        key = policy.idempotency_key(run=run, node_id=plan.node_id, effect=effect)
    except (TypeError, ValueError, RecursionError):
        problem = not_json(effect.payload, "Effect payload")
        if problem is None:
            raise  # the policy's own failure, not the payload's (spec/01 §3.4)
        return problem
    if effect.type is TOOL_CALLS:
        effect = with_runtime_call_ids(effect, key)
    attempts = max(1, policy.max_attempts(effect))
    return EffectStep(plan.node_id, effect, plan.next_node or None, key, attempts)


def unencodable_step(plan: StepPlan, effect: Effect) -> EffectStep:
    """The step that stands in the ledger for an effect whose payload can't be stored."""
    bare = Effect(effect.type, {}, effect.result_key)
    return EffectStep(node_id=plan.node_id, effect=bare, next_node=plan.next_node or None, key="")
