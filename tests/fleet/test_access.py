"""What a run of the fleet may see of others, and loops that count their visits (`spec/01 §19.9`, §19.17)."""

from __future__ import annotations

import json

import pytest

from abstractruntime.app import App
from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import PerVisitPolicy
from abstractruntime.core.spec import RunContext, WorkflowSpec

from .bench import Bench


def looks(run: RunState, ctx: RunContext) -> StepPlan:
    payload = {"path": "x", "target_run_id": run.vars["target"]}
    return StepPlan("looks", Effect(EffectType.VARS_QUERY, payload, "out"), "done")


def waits(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("waits", Effect(EffectType.ASK_USER, {"prompt": "?"}, "out"), "done")


def done(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("done", complete_output={"out": run.vars["out"]})


WORKFLOWS = [
    WorkflowSpec("looks", "looks", {"looks": looks, "done": done}),
    WorkflowSpec("waits", "waits", {"waits": waits, "done": done}),
]


@pytest.mark.weakness("spec/01 §19.17")
@pytest.mark.parametrize(("session", "may"), [("s", True), ("t", False), (None, False)])
def test_runs_of_another_session_are_not_shown(session: str | None, may: bool) -> None:
    bench = Bench(App(workflows=WORKFLOWS))
    target = bench.start("waits", {"x": "secret"}, session_id="s")
    run_id = bench.start("looks", {"target": target}, session_id=session)
    bench.drain()
    (entry,) = bench.run(run_id).vars["out"]["results"]
    assert entry["success"] is may
    assert ("secret" in json.dumps(entry)) is may


@pytest.mark.weakness("spec/01 §19.17")
def test_what_is_shown_is_bounded() -> None:
    bench = Bench(App(workflows=WORKFLOWS, config=RuntimeConfig(max_vars_query_chars=10)))
    target = bench.start("waits", {"x": "long text"})
    run_id = bench.start("looks", {"target": target})
    bench.drain()
    (entry,) = bench.run(run_id).vars["out"]["results"]
    assert "more than 10 (RuntimeConfig.max_vars_query_chars)" in entry["error"]


@pytest.mark.weakness("spec/01 §19.9")
def test_each_visit_may_count() -> None:
    calls: list[int] = []

    def loop(run: RunState, ctx: RunContext) -> StepPlan:
        visits = run.vars["visits"] = run.vars.get("visits", 0) + 1
        after = "done" if visits == 3 else "loop"
        return StepPlan("loop", Effect(EffectType.TOOL_CALLS, {"same": True}, "out"), after)

    workflow = WorkflowSpec("loops", "loop", {"loop": loop, "done": done})
    bench = Bench(App(workflows=[workflow], policy=PerVisitPolicy()))

    @bench.app.effect(EffectType.TOOL_CALLS)
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        calls.append(1)
        return EffectOutcome.completed({"n": len(calls)})

    run_id = bench.start("loops")
    bench.drain()
    run = bench.run(run_id)
    assert (run.status, run.output) == (RunStatus.COMPLETED, {"out": {"n": 3}})
