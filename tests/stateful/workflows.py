"""Workflows that use every kind of effect and wait, and the world outside that their handlers reach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec

ROUNDS = 2
ORDER = (
    "say",
    "llm",
    "ask",
    "sleep",
    "listen",
    "hear_all",
    "sync",
    "detach",
    "await",
    "loud",
    "tools",
    "fragile",
)
"""The nodes of ``mixed`` in the order in which a run passes them, round by round."""


class Outside:
    """What effect handlers reach: a model that fails now and then, tools that may be out of order."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.model_fails = 0
        self.tools_work = True
        self.node_works = True

    def handlers(self) -> dict[EffectType, Callable[..., EffectOutcome]]:
        return {EffectType.LLM_CALL: self.model, EffectType.TOOL_CALLS: self.tools}

    def model(self, run: RunState, effect: Effect) -> EffectOutcome:
        self.calls[run.run_id] += 1
        if self.model_fails > 0:
            self.model_fails -= 1
            raise RuntimeError(f"no model for {effect.payload['prompt']}")
        usage = {"input_tokens": len(effect.payload["prompt"]), "total_tokens": 12}
        return EffectOutcome.completed({"content": effect.payload["prompt"] * 40, "usage": usage})

    def tools(self, run: RunState, effect: Effect) -> EffectOutcome:
        self.calls[run.run_id] += 1
        if not self.tools_work:
            return EffectOutcome.failed("tools are out of order")
        results = [{"call_id": call["call_id"], "output": "ü" * 150} for call in effect.payload["tool_calls"]]
        return EffectOutcome.completed({"mode": "executed", "results": results})


class Workflows:
    """The registry of one world."""

    def __init__(self, outside: Outside) -> None:
        self._outside = outside
        nodes = {node: getattr(self, f"_{node}") for node in ORDER} | {"turn": self._turn}
        self.registry = {
            "mixed": WorkflowSpec("mixed", "say", nodes),
            "child": WorkflowSpec("child", "work", {"work": _work, "pause": _pause, "end": _end}),
            "asker": WorkflowSpec("asker", "ask", {"ask": _last_question}),
            "ring": WorkflowSpec("ring", "ring", {"ring": _ring}),
        }

    def mixed_from(self, node: str) -> WorkflowSpec:
        return WorkflowSpec("mixed", node, self.registry["mixed"].nodes)

    def _say(self, run: RunState, context: RunContext) -> StepPlan:
        return _plan(run, EffectType.ANSWER_USER, {"message": f"round {_round(run)}"})

    def _llm(self, run: RunState, context: RunContext) -> StepPlan:
        # Twice with the same words, and again in the next round: the first answer is taken over.
        run.vars["asked"] = run.vars.get("asked", 0) + 1
        effect = Effect(EffectType.LLM_CALL, {"prompt": "grüße "}, "got.llm")
        return StepPlan("llm", effect, "ask" if run.vars["asked"] % 2 == 0 else "llm")

    def _ask(self, run: RunState, context: RunContext) -> StepPlan:
        return _plan(run, EffectType.ASK_USER, {"prompt": f"{_round(run)}?", "choices": ["yes", "no"]})

    def _sleep(self, run: RunState, context: RunContext) -> StepPlan:
        until = datetime.fromisoformat(context.now_iso()) + timedelta(hours=1)
        return _plan(run, EffectType.WAIT_UNTIL, {"until": until.isoformat()})

    def _listen(self, run: RunState, context: RunContext) -> StepPlan:
        return _plan(run, EffectType.WAIT_EVENT, {"name": "bell", "prompt": "ring"})

    def _hear_all(self, run: RunState, context: RunContext) -> StepPlan:
        return _plan(run, EffectType.WAIT_EVENT, {"names": ["bell", "*"], "scope": "global"})

    def _sync(self, run: RunState, context: RunContext) -> StepPlan:
        workflow_id = run.vars.get("sync_child", "child")
        payload = {"workflow_id": workflow_id, "vars": {"n": _round(run)}, "include_traces": True}
        return _plan(run, EffectType.START_SUBWORKFLOW, payload)

    def _detach(self, run: RunState, context: RunContext) -> StepPlan:
        payload = {"workflow_id": "child", "async": True, "vars": {"n": _round(run) + 10}}
        return _plan(run, EffectType.START_SUBWORKFLOW, payload)

    def _await(self, run: RunState, context: RunContext) -> StepPlan:
        payload = {"workflow_id": "asker", "async": True, "wait": True, "wrap_as_tool_result": True}
        return _plan(run, EffectType.START_SUBWORKFLOW, payload)

    def _loud(self, run: RunState, context: RunContext) -> StepPlan:
        return _plan(run, EffectType.EMIT_EVENT, {"name": "bell", "payload": {"round": _round(run)}})

    def _tools(self, run: RunState, context: RunContext) -> StepPlan:
        calls = [{"name": " look ", "arguments": {"n": _round(run)}, "call_id": "c1"}]
        return _plan(run, EffectType.TOOL_CALLS, {"tool_calls": calls})

    def _fragile(self, run: RunState, context: RunContext) -> StepPlan:
        run.vars["touched"] = _round(run)
        if not self._outside.node_works:
            raise RuntimeError("the node broke")
        return StepPlan("fragile", next_node="turn")

    def _turn(self, run: RunState, context: RunContext) -> StepPlan:
        rounds = run.vars["rounds"] = _round(run) + 1
        if rounds >= ROUNDS:
            return StepPlan("turn", complete_output={"rounds": rounds, "text": "x" * 300})
        return StepPlan("turn", next_node="say")


def _round(run: RunState) -> int:
    return int(run.vars.get("rounds", 0))


def _plan(run: RunState, kind: EffectType, payload: dict[str, Any]) -> StepPlan:
    here = run.current_node
    after = (*ORDER, "turn")[ORDER.index(here) + 1]
    return StepPlan(here, Effect(kind, payload, f"got.{here}"), after)


def _work(run: RunState, context: RunContext) -> StepPlan:
    effect = Effect(EffectType.ANSWER_USER, {"message": f"working on {run.vars['n']}"}, "said")
    return StepPlan("work", effect, "pause" if run.vars["n"] == 1 else "end")


def _pause(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan(
        "pause", Effect(EffectType.WAIT_EVENT, {"name": "bell", "scope": "workflow"}, "heard"), "end"
    )


def _end(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={"answer": f"{run.vars['n']} is done", "report": "r" * 300})


def _last_question(run: RunState, context: RunContext) -> StepPlan:
    """A terminal wait: the answer ends the run."""
    return StepPlan("ask", Effect(EffectType.ASK_USER, {"prompt": "last?", "wait_key": "last"}, "answer"))


def _ring(run: RunState, context: RunContext) -> StepPlan:
    return StepPlan("ring", Effect(EffectType.EMIT_EVENT, dict(run.vars["event"])))
