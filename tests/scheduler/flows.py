"""Workflows that wait for a time, an event or a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abstractruntime.core.models import EffectType, RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec
from tests.kernel.flows import asks, done, flow

Work = Callable[[RunState], Any]


def timer(until: str, work: Work = lambda run: "ok", workflow_id: str = "timer") -> WorkflowSpec:
    """Waits for a time, then does ``work``."""

    def after(run: RunState, context: RunContext) -> StepPlan:
        return StepPlan(run.current_node, complete_output={"out": work(run)})

    return flow(workflow_id, wait=asks(EffectType.WAIT_UNTIL, {"until": until}, then="after"), after=after)


def listener(name: str = "go", workflow_id: str = "listener", **payload: Any) -> WorkflowSpec:
    return flow(workflow_id, wait=asks(EffectType.WAIT_EVENT, {"name": name, **payload}), done=done)


def question(workflow_id: str = "question") -> WorkflowSpec:
    return flow(workflow_id, ask=asks(EffectType.ASK_USER, {"prompt": "Continue?"}), done=done)


def long_one(steps: int, workflow_id: str = "long") -> WorkflowSpec:
    def node(run: RunState, context: RunContext) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        if run.vars["n"] >= steps:
            return StepPlan(run.current_node, complete_output={"n": run.vars["n"]})
        return StepPlan(run.current_node, next_node=run.current_node)

    return flow(workflow_id, node=node)
