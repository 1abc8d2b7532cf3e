"""The App of these tests, as ``--app tests.cli.flows:app``."""

from __future__ import annotations

from abstractruntime import App, Effect, EffectType, RunState, StepPlan, WorkflowSpec
from abstractruntime.core.errors import FailRun
from abstractruntime.core.spec import RunContext


def ask(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "Really?"}, "answer"), "done")


def listen(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("listen", Effect(EffectType.WAIT_EVENT, {"wait_key": "door"}, "answer"), "done")


def done(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("done", complete_output={"answer": run.vars.get("answer")})


def fail(run: RunState, context: RunContext) -> StepPlan:
    if run.vars.get("mended"):
        return StepPlan("fail", complete_output={})
    raise FailRun("row 7: amount is missing")


app = App(
    name="cli-tests",
    workflows=[
        WorkflowSpec("question", "ask", {"ask": ask, "done": done}),
        WorkflowSpec("listener", "listen", {"listen": listen, "done": done}),
        WorkflowSpec("plain", "done", {"done": done}),
        WorkflowSpec("bad", "fail", {"fail": fail}),
    ],
)
not_an_app = 7
