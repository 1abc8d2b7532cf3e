"""The workflows that are measured, and the App that declares them."""

from __future__ import annotations

import time

from abstractruntime.app import App
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec


def count(run: RunState, ctx: RunContext) -> StepPlan:
    """One effect step without outside contact, again and again: two ledger records and a checkpoint."""
    n = run.vars.get("n", 0) + 1
    run.vars["n"] = n
    if n >= run.vars["steps"]:
        return StepPlan("count", complete_output={"n": n})
    effect = Effect(EffectType.ANSWER_USER, {"message": f"step {n}"}, "said")
    return StepPlan("count", effect=effect, next_node="count")


def stamp(run: RunState, ctx: RunContext) -> StepPlan:
    """Say when this node ran."""
    return StepPlan("stamp", complete_output={"at": time.time()})


def await_event(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.WAIT_EVENT, {"wait_key": run.vars["key"]}, "event")
    return StepPlan("await_event", effect=effect, next_node="stamp")


def await_time(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.WAIT_UNTIL, {"until": run.vars["until"]})
    return StepPlan("await_time", effect=effect, next_node="stamp")


def dawdle(run: RunState, ctx: RunContext) -> StepPlan:
    """One slow effect."""
    effect = Effect(EffectType.TOOL_CALLS, {"seconds": run.vars["seconds"]}, "dawdled")
    return StepPlan("dawdle", effect=effect, next_node="stamp")


app = App(
    name="benchmarks",
    workflows=[
        WorkflowSpec("chain", "count", {"count": count}),
        WorkflowSpec("slow", "dawdle", {"dawdle": dawdle, "stamp": stamp}),
        WorkflowSpec("stamp", "stamp", {"stamp": stamp}),
        WorkflowSpec("event", "await_event", {"await_event": await_event, "stamp": stamp}),
        WorkflowSpec("timer", "await_time", {"await_time": await_time, "stamp": stamp}),
    ],
)


@app.effect(EffectType.TOOL_CALLS)
def outside(run: RunState, effect: Effect) -> EffectOutcome:
    """The outside takes its time."""
    time.sleep(effect.payload["seconds"])
    return EffectOutcome.completed({})
