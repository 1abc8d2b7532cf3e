"""Small workflows that meet every door of the client."""

from __future__ import annotations

from typing import Any

from abstractruntime.app import App
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import WorkflowSpec


def _add(run: RunState, ctx: Any) -> StepPlan:
    total = run.vars.get("a", 0) + run.vars.get("b", 0)
    return StepPlan(node_id="add", complete_output={"sum": total})


def _ask(run: RunState, ctx: Any) -> StepPlan:
    effect = Effect(EffectType.ASK_USER, {"prompt": "Really?"}, result_key="answer")
    return StepPlan(node_id="ask", effect=effect, next_node="done")


def _listen(run: RunState, ctx: Any) -> StepPlan:
    payload = run.vars.get("listen") or {"name": "paid", "session_id": "s1"}
    effect = Effect(EffectType.WAIT_EVENT, payload, result_key="event")
    return StepPlan(node_id="listen", effect=effect, next_node="done")


def _twice(run: RunState, ctx: Any) -> StepPlan:
    effect = Effect(EffectType.WAIT_EVENT, {"name": "paid", "session_id": "s1"}, result_key="first")
    return StepPlan(node_id="twice", effect=effect, next_node="listen")


def _done(run: RunState, ctx: Any) -> StepPlan:
    kept = {
        name: run.vars[name] for name in ("answer", "event", "first", "called", "child") if name in run.vars
    }
    return StepPlan(node_id="done", complete_output=kept)


def _parent(run: RunState, ctx: Any) -> StepPlan:
    payload = {"workflow_id": run.vars.get("of", "ask"), "vars": run.vars.get("child_vars", {})}
    effect = Effect(EffectType.START_SUBWORKFLOW, payload, result_key="child")
    return StepPlan(node_id="parent", effect=effect, next_node="done")


def _brood(run: RunState, ctx: Any) -> StepPlan:
    payload = {"workflow_id": run.vars["of"], "vars": {}, "async": True}
    effect = Effect(EffectType.START_SUBWORKFLOW, payload, result_key="child")
    return StepPlan(node_id="brood", effect=effect, next_node="done")


def _call(run: RunState, ctx: Any) -> StepPlan:
    effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": []}, result_key="called")
    return StepPlan(node_id="call", effect=effect, next_node="done")


def _fragile(run: RunState, ctx: Any) -> StepPlan:
    effect = Effect(EffectType.LLM_CALL, {"prompt": "x"}, result_key="called")
    return StepPlan(node_id="fragile", effect=effect, next_node="done")


def flow(name: str, **nodes: Any) -> WorkflowSpec:
    return WorkflowSpec(workflow_id=name, entry_node=next(iter(nodes)), nodes={**nodes, "done": _done})


def make_app(**handlers: Any) -> App:
    """The App; ``tool`` and ``llm`` are effect handlers."""
    app = App(
        name="doors",
        workflows=[
            flow("add", add=_add),
            flow("ask", ask=_ask),
            flow("listen", listen=_listen),
            flow("twice", twice=_twice, listen=_listen),
            flow("parent", parent=_parent),
            flow("brood", brood=_brood),
            flow("call", call=_call),
            flow("fragile", fragile=_fragile),
        ],
    )

    def nothing(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({"ok": True})

    app.effect(EffectType.TOOL_CALLS)(handlers.get("tool", nothing))
    app.effect(EffectType.LLM_CALL, quick=True)(handlers.get("llm", nothing))
    return app


app = make_app()
