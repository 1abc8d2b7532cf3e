"""The workflow of the writing processes, and how a host drives it to its end from wherever it stands."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan, WaitReason
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.runtime import Runtime
from abstractruntime.core.spec import RunContext, WorkflowSpec

LOOPS = 3
OUTPUT = {"answer": "yes", "child": "yes", "loops": LOOPS, "tool": "works"}
LARGE = 100_000
"""Characters in the answers of some steps: large enough for a process to die in the middle of a write."""


def _model(run: RunState, context: RunContext) -> StepPlan:
    payload = {"prompt": f"write {run.vars['n']}", "length": LARGE if run.vars["n"] % 7 == 0 else 10}
    return StepPlan("model", Effect(EffectType.LLM_CALL, payload, "text"), "tool")


def _tool(run: RunState, context: RunContext) -> StepPlan:
    calls = [{"name": "look", "arguments": {"n": run.vars["n"]}}]
    return StepPlan("tool", Effect(EffectType.TOOL_CALLS, {"tool_calls": calls}, "tool"), "ask")


def _ask(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "?"}, "answer"), "sleep")


def _sleep(run: RunState, context: RunContext) -> StepPlan:
    until = datetime.fromisoformat(context.now_iso()) + timedelta(milliseconds=15)
    return StepPlan("sleep", Effect(EffectType.WAIT_UNTIL, {"until": until.isoformat()}), "loop")


def _loop(run: RunState, context: RunContext) -> StepPlan:
    loops = run.vars["loops"] = run.vars.get("loops", 0) + 1
    if loops > LOOPS:
        return StepPlan("loop", next_node="child")
    effect = Effect(EffectType.LLM_CALL, {"prompt": f"loop {loops}", "length": 5}, f"loop{loops}")
    return StepPlan("loop", effect, "loop")


def _child(run: RunState, context: RunContext) -> StepPlan:
    payload = {"workflow_id": "child", "vars": {"n": run.vars["n"]}}
    return StepPlan("child", Effect(EffectType.START_SUBWORKFLOW, payload, "child"), "end")


def _end(run: RunState, context: RunContext) -> StepPlan:
    loops = sum(f"loop{i}" in run.vars for i in range(1, LOOPS + 1))
    output = {
        "answer": run.vars["answer"]["text"],
        "child": run.vars["child"]["output"]["result"]["text"],
        "loops": loops,
        "tool": run.vars["tool"]["results"][0]["output"],
    }
    return StepPlan("end", complete_output=output)


def _child_model(run: RunState, context: RunContext) -> StepPlan:
    effect = Effect(EffectType.LLM_CALL, {"prompt": "child", "length": 10}, "text")
    return StepPlan("model", effect, "ask")


def _child_ask(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "child?"}, "answer"))


JOB = WorkflowSpec(
    "job",
    "model",
    {
        "model": _model,
        "tool": _tool,
        "ask": _ask,
        "sleep": _sleep,
        "loop": _loop,
        "child": _child,
        "end": _end,
    },
)
CHILD = WorkflowSpec("child", "model", {"model": _child_model, "ask": _child_ask})
REGISTRY = {"job": JOB, "child": CHILD}


def make_runtime(runs: Any, ledger: Any, did: Callable[[str, str], None]) -> Runtime:
    """A runtime whose effects reach the outside through ``did(run_id, idempotency_key)``."""

    def model(run: RunState, effect: Effect) -> EffectOutcome:
        did(run.run_id, current_effect().idempotency_key)
        return EffectOutcome.completed({"content": "ü" * effect.payload["length"]})

    def tools(run: RunState, effect: Effect) -> EffectOutcome:
        """Works at the second attempt."""
        if current_effect().attempt == 1:
            return EffectOutcome.failed("not yet")
        did(run.run_id, current_effect().idempotency_key)
        results = [{"call_id": call["call_id"], "output": "works"} for call in effect.payload["tool_calls"]]
        return EffectOutcome.completed({"mode": "executed", "results": results})

    return Runtime(
        run_store=runs,
        ledger_store=ledger,
        effect_handlers={EffectType.LLM_CALL: model, EffectType.TOOL_CALLS: tools},
        workflow_registry=REGISTRY,
        effect_policy=RetryPolicy(tool_max_attempts=2, backoff_base=0.0),
    )


def drive(runtime: Runtime, run_id: str, heard: Callable[[RunState], None] = lambda run: None) -> RunState:
    """What a host does for a run until it has ended; ``heard`` is told each state that a call returned."""
    run = runtime.get_state(run_id)
    for _ in range(100_000):
        if run.is_terminal:
            return run
        before, run = run, _step(runtime, run, heard)
        if run.updated_at != before.updated_at:
            heard(run)
    raise AssertionError(f"run {run_id} is stuck at {run.current_node}: {run.waiting}")


def _step(runtime: Runtime, run: RunState, heard: Callable[[RunState], None]) -> RunState:
    workflow, waiting = REGISTRY[run.workflow_id], run.waiting
    if run.status is RunStatus.RUNNING or waiting is None or waiting.reason is WaitReason.UNTIL:
        return runtime.tick(workflow=workflow, run_id=run.run_id)
    payload: dict[str, Any] = {"text": "yes"}
    if waiting.reason is WaitReason.SUBWORKFLOW:
        child = drive(runtime, waiting.details["sub_run_id"], heard)  # type: ignore[index]
        payload = {"sub_run_id": child.run_id, "output": child.output}
    return runtime.resume(workflow=workflow, run_id=run.run_id, wait_key=waiting.wait_key, payload=payload)


def recover(runtime: Runtime, heard: Callable[[RunState], None] = lambda run: None) -> None:
    """What a host does when it starts: last words of ended runs, then every run that has not ended."""
    for row in runtime.run_store.list_run_index(limit=20):
        if row["status"] in ("completed", "failed", "cancelled"):
            runtime.repair_ledger(row["run_id"])
    for status in (RunStatus.RUNNING, RunStatus.WAITING):
        for row in runtime.run_store.list_run_index(status=status, root_only=True, limit=100):
            drive(runtime, row["run_id"], heard)
