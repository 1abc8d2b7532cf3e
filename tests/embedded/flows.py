"""The App of these tests' fleets: `python -m ... --app tests.embedded.flows:app`."""

from __future__ import annotations

from datetime import datetime, timedelta

from abstractruntime import App, Effect, EffectType, RunState, StepPlan, WorkflowSpec
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext


def greet(run: RunState, context: RunContext) -> StepPlan:
    call = {"name": "greet", "arguments": {"name": run.vars.get("name", "world")}}
    return StepPlan("greet", Effect(EffectType.TOOL_CALLS, {"tool_calls": [call]}, "greeting"), "nap")


def nap(run: RunState, context: RunContext) -> StepPlan:
    until = datetime.fromisoformat(context.now_iso()) + timedelta(seconds=run.vars.get("nap_s", 0.1))
    return StepPlan("nap", Effect(EffectType.WAIT_UNTIL, {"until": until.isoformat()}), "done")


def done(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("done", complete_output={"greeting": run.vars["greeting"]})


def listen(run: RunState, context: RunContext) -> StepPlan:
    effect = Effect(EffectType.WAIT_EVENT, {"wait_key": run.vars["key"]}, "heard")
    return StepPlan("listen", effect, "say")


def say(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("say", complete_output={"heard": run.vars["heard"]})


def count(run: RunState, context: RunContext) -> StepPlan:
    """Many small steps, so that a crash falls into the middle of them."""
    run.vars["count"] = run.vars.get("count", 0) + 1
    if run.vars["count"] >= run.vars["up_to"]:
        return StepPlan("count", complete_output={"count": run.vars["count"]})
    return StepPlan("count", next_node="count")


app = App(
    name="embedded-tests",
    workflows=[
        WorkflowSpec("hello", "greet", {"greet": greet, "nap": nap, "done": done}),
        WorkflowSpec("listen", "listen", {"listen": listen, "say": say}),
        WorkflowSpec("count", "count", {"count": count}),
    ],
)


@app.effect(EffectType.TOOL_CALLS)
def call(run: RunState, effect: Effect) -> EffectOutcome:
    name = effect.payload["tool_calls"][0]["arguments"]["name"]
    return EffectOutcome.completed({"text": f"Hello, {name}"})
