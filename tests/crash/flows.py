"""Workflows whose outside calls an oracle counts."""

from __future__ import annotations

import os
import signal
import time
from datetime import datetime, timedelta
from pathlib import Path

from abstractruntime.app import App, Every, NodeRetry
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec

ORACLE = "CRASH_TESTS_ORACLE"
"""Folder in which each outside call leaves a line: one file per idempotency key."""
SCHEDULE = "CRASH_TESTS_SCHEDULE"
"""Seconds between two starts of a small chain; unset: no schedule."""


def record_call(key: str, text: str) -> None:
    """One outside call, durable at once."""
    with (Path(os.environ[ORACLE]) / key).open("a") as file:
        file.write(text + "\n")


def chain(run: RunState, ctx: RunContext) -> StepPlan:
    n = int(run.vars.get("n", 0)) + 1
    run.vars["n"] = n
    if n > run.vars["steps"]:
        return StepPlan("chain", complete_output={"n": n - 1})
    effect = Effect(EffectType.ANSWER_USER, {"message": f"step {n}"}, "said")
    return StepPlan("chain", effect=effect, next_node="chain")


def call(run: RunState, ctx: RunContext) -> StepPlan:
    tools = {"tool_calls": [{"name": "charge", "arguments": {"n": run.vars.get("n", 1)}}]}
    return StepPlan("call", effect=Effect(EffectType.TOOL_CALLS, tools, "charged"), next_node="done")


def wait_event(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.WAIT_EVENT, {"wait_key": run.vars["key"]}, "event")
    return StepPlan("wait_event", effect=effect, next_node="done")


def dawdle(run: RunState, ctx: RunContext) -> StepPlan:
    """Take a moment, so that a wait begins after its event."""
    if run.vars.get("release"):
        while not Path(run.vars["release"]).exists():
            time.sleep(0.01)
    return StepPlan("dawdle", next_node="wait_event")


def sleep(run: RunState, ctx: RunContext) -> StepPlan:
    until = datetime.fromisoformat(ctx.now_iso()) + timedelta(seconds=run.vars["seconds"])
    effect = Effect(EffectType.WAIT_UNTIL, {"until": until.isoformat()}, "woke")
    return StepPlan("sleep", effect=effect, next_node="done")


def done(run: RunState, ctx: RunContext) -> StepPlan:
    names = ("charged", "said", "answer", "event", "woke", "child")
    return StepPlan("done", complete_output={name: run.vars[name] for name in names if name in run.vars})


def quick(run: RunState, ctx: RunContext) -> StepPlan:
    prompt = Effect(EffectType.LLM_CALL, {"prompt": "well?"}, "said")
    return StepPlan("quick", effect=prompt, next_node="done")


def ask(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.ASK_USER, {"prompt": "well?"}, "answer")
    return StepPlan("ask", effect=effect, next_node="done")


def parent(run: RunState, ctx: RunContext) -> StepPlan:
    child = {"workflow_id": "chain", "vars": {"steps": 2}}
    return StepPlan("parent", effect=Effect(EffectType.START_SUBWORKFLOW, child, "child"), next_node="done")


def raising(run: RunState, ctx: RunContext) -> StepPlan:
    raise RuntimeError("this node always raises")


def deadly(run: RunState, ctx: RunContext) -> StepPlan:
    """Kills whoever runs it, and counts its victims."""
    record_call(f"deadly-node-{run.run_id}", "killed")
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def charge(run: RunState, effect: Effect) -> EffectOutcome:
    """Outside contact: the call is counted, then the handler waits, or kills its worker, if it is told to."""
    attempt = current_effect()
    record_call(attempt.idempotency_key, f"attempt {attempt.attempt}")
    if run.vars.get("kills"):
        os.kill(os.getpid(), signal.SIGKILL)
    hold = run.vars.get("hold")
    while hold and attempt.attempt == 1 and not Path(hold).exists():
        time.sleep(0.01)
    return EffectOutcome.completed({"attempt": attempt.attempt})


def _schedules() -> list[Every]:
    every = os.environ.get(SCHEDULE)
    return [Every("often", float(every), workflow_id="chain", vars={"steps": 1})] if every else []


CHAIN = WorkflowSpec("chain", "chain", {"chain": chain})
app = App(
    name="crash-tests",
    node_retry=NodeRetry(max_attempts=2, backoff_s=0.2),
    schedules=_schedules(),
    workflows=[
        CHAIN,
        WorkflowSpec("call", "call", {"call": call, "done": done}),
        WorkflowSpec("quick", "quick", {"quick": quick, "done": done}),
        WorkflowSpec("ask", "ask", {"ask": ask, "done": done}),
        WorkflowSpec("event", "wait_event", {"wait_event": wait_event, "done": done}),
        WorkflowSpec("late", "dawdle", {"dawdle": dawdle, "wait_event": wait_event, "done": done}),
        WorkflowSpec("sleep", "sleep", {"sleep": sleep, "done": done}),
        WorkflowSpec("family", "parent", {"parent": parent, "done": done}),
        WorkflowSpec("raising", "raising", {"raising": raising}),
        WorkflowSpec("deadly", "deadly", {"deadly": deadly}),
    ],
)
app.effect(EffectType.TOOL_CALLS)(charge)
app.effect(EffectType.LLM_CALL, quick=True)(charge)

old_app = App(name="crash-tests", workflows=[CHAIN])
"""The release before: it knows one workflow only."""
