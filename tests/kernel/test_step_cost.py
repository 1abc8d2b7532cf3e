"""What one effect step costs over the in-memory stores, in Python calls: the clock of a busy machine lies."""

from __future__ import annotations

import sys
from types import FrameType

from abstractruntime import Effect, EffectType, InMemoryLedgerStore, InMemoryRunStore, Runtime, StepPlan
from abstractruntime.core.models import RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import WorkflowSpec

STEPS = 10
MOST_CALLS = 85
"""Of functions written in Python, node and handler among them. It was 150 before they were counted."""


def test_an_effect_step_takes_few_calls_and_no_more_as_the_run_grows() -> None:
    def loop(run: RunState, context: object) -> StepPlan:
        number = run.vars["n"] = run.vars["n"] + 1
        effect = Effect(EffectType.LLM_CALL, {"prompt": f"question {number}"}, result_key="answer")
        return StepPlan(node_id="loop", effect=effect, next_node="loop")

    def answer(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({"content": effect.payload["prompt"]})

    workflow = WorkflowSpec(workflow_id="loop", entry_node="loop", nodes={"loop": loop})
    runtime = Runtime(
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        effect_handlers={EffectType.LLM_CALL: answer},
    )
    run_id = runtime.start(workflow=workflow, vars={"n": 0})

    def calls_per_step() -> float:
        counted = 0

        def count(frame: FrameType, event: str, arg: object) -> None:
            nonlocal counted
            counted += event == "call"

        before = sys.getprofile()
        sys.setprofile(count)
        try:
            runtime.tick(workflow=workflow, run_id=run_id, max_steps=STEPS)
        finally:
            sys.setprofile(before)
        return counted / STEPS

    runtime.tick(workflow=workflow, run_id=run_id, max_steps=STEPS)
    first = calls_per_step()
    assert first <= MOST_CALLS
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=500)
    assert calls_per_step() <= first
