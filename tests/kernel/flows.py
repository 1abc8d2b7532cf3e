"""Small workflows for kernel tests. Nodes name themselves after where the run stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.spec import NodeHandler, RunContext, WorkflowSpec


def flow(workflow_id: str = "wf", **nodes: NodeHandler) -> WorkflowSpec:
    """A workflow that begins at its first node."""
    return WorkflowSpec(workflow_id, next(iter(nodes)), dict(nodes))


def asks(
    kind: EffectType, payload: Any = None, *, key: str | None = "out", then: str | None = "done"
) -> NodeHandler:
    """A node that asks for one effect; a callable payload is given the run."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        given = payload(run) if callable(payload) else payload
        return StepPlan(run.current_node, Effect(kind, {} if given is None else given, key), then)

    return node


def goes(to: str) -> NodeHandler:
    """A pure transition."""
    return lambda run, context: StepPlan(run.current_node, next_node=to)


def done(run: RunState, context: RunContext) -> StepPlan:
    """Ends with what arrived at ``out``."""
    return StepPlan(run.current_node, complete_output={"out": run.vars.get("out")})


def loop(kind: EffectType, payload: Callable[[int], dict[str, Any]], times: int) -> NodeHandler:
    """A node that visits itself ``times`` times with one effect each, then completes."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        visit = run.vars["visits"] = run.vars.get("visits", 0) + 1
        if visit > times:
            return StepPlan(run.current_node, complete_output={"visits": times})
        return StepPlan(run.current_node, Effect(kind, payload(visit), "out"), run.current_node)

    return node
