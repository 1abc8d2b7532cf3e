"""Workflows for a crowd: the smallest run there is, slow effects with few slots, starts with few places."""

from __future__ import annotations

import os
import time
from pathlib import Path

from abstractruntime.app import App, Limit
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec

GATE = "CROWD_TESTS_GATE"
"""Folder of the outside: a call leaves a file with its worker's pid and waits until it may end."""


def brief(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("brief", complete_output={})


def call(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": [], "name": run.vars["name"]}, "called")
    return StepPlan("call", effect, "brief")


def wait(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("wait", Effect(EffectType.WAIT_EVENT, {"wait_key": "open"}), "brief")


app = App(
    workflows=[
        WorkflowSpec("brief", "brief", {"brief": brief}),
        WorkflowSpec("call", "call", {"call": call, "brief": brief}),
        WorkflowSpec("wait", "wait", {"wait": wait, "brief": brief}),
    ]
)


@app.effect(EffectType.TOOL_CALLS, limits=[Limit("outside", concurrency=1)])
def outside(run: RunState, effect: Effect) -> EffectOutcome:
    gate = Path(os.environ[GATE])
    (gate / effect.payload["name"]).write_text(str(os.getpid()))
    while not (gate / "open").exists():
        time.sleep(0.01)
    return EffectOutcome.completed({})
