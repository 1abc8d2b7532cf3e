"""The App of these tests, as ``--app tests.cli.flows:app``."""

from __future__ import annotations

from abstractruntime import App, Effect, EffectType, RunState, StepPlan, WorkflowSpec
from abstractruntime.core.errors import FailRun
from abstractruntime.core.spec import RunContext
from abstractruntime.integrations.abstractcore._tool_calls.handler import make_tool_calls_handler
from abstractruntime.integrations.abstractcore.tool_executor import PassthroughToolExecutor


def ask(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "Really?"}, "answer"), "done")


def listen(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("listen", Effect(EffectType.WAIT_EVENT, {"wait_key": "door"}, "answer"), "done")


def allow(run: RunState, context: RunContext) -> StepPlan:
    calls = [{"name": name, "arguments": {"to": "bob"}} for name in ("send", "erase")]
    payload = {"tool_calls": calls, "allowed_tools": ["send"]}
    return StepPlan("allow", Effect(EffectType.TOOL_CALLS, payload, "answer"), "done")


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
        WorkflowSpec("careful", "allow", {"allow": allow, "done": done}),
    ],
    effect_handlers={
        EffectType.TOOL_CALLS: make_tool_calls_handler(
            tools=PassthroughToolExecutor(mode="approval_required")
        )
    },
)
not_an_app = 7
