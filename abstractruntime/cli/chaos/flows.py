"""The workflows of the chaos run. What each must give follows from its variables alone (`workload.py`)."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from datetime import timedelta

from abstractruntime.app import App, NodeRetry
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.core.times import parse_time, to_iso

__all__ = ["MENDED_AT", "ORACLE_URL", "POISON", "app"]

ORACLE_URL = "ABSTRACTRUNTIME_CHAOS_ORACLE"
"""Environment variable with the oracle's URL."""

POISON = "this node always raises"
MENDED_AT = 77
"""Value of the limit ``max_iterations`` from which the node `fragile` no longer raises."""

_CALL_TIMEOUT_S = 15.0


def _step(run: RunState, ctx: RunContext) -> StepPlan:
    """Steps without outside contact: every third is a pure transition."""
    n = int(run.vars.get("n", 0)) + 1
    run.vars["n"] = n
    if n > run.vars["steps"]:
        return StepPlan("step", complete_output={"n": n - 1})
    if n % 3 == 0:
        return StepPlan("step", next_node="step")
    effect = Effect(EffectType.ANSWER_USER, {"message": f"step {n}"}, "said")
    return StepPlan("step", effect=effect, next_node="step")


def _nap(run: RunState, ctx: RunContext) -> StepPlan:
    """A timer; without naps left, on to the node ``after``, or the end."""
    naps = run.vars["naps"]
    index = int(run.vars.get("napped", 0))
    if index == len(naps):
        after = run.vars.get("after")
        if after:
            return StepPlan("nap", next_node=after)
        return StepPlan("nap", complete_output={"naps": index})
    run.vars["napped"] = index + 1
    until = to_iso(parse_time(ctx.now_iso()) + timedelta(seconds=naps[index]))
    return StepPlan("nap", effect=Effect(EffectType.WAIT_UNTIL, {"until": until}, "woke"), next_node="nap")


def _charge(run: RunState, ctx: RunContext) -> StepPlan:
    n = len(run.vars.setdefault("receipts", []))
    arguments = {
        "name": run.vars["name"],
        "n": n,
        "work_s": run.vars["work_s"],
        "flaky": n == run.vars.get("flaky"),
    }
    tools = {"tool_calls": [{"name": "charge", "arguments": arguments}]}
    return StepPlan("charge", effect=Effect(EffectType.TOOL_CALLS, tools, "charged"), next_node="charged")


def _charged(run: RunState, ctx: RunContext) -> StepPlan:
    receipts = run.vars["receipts"]
    receipts.append(run.vars["charged"]["receipt"])
    more = len(receipts) < run.vars["times"]
    return StepPlan("charged", next_node="charge" if more else "book")


def _book(run: RunState, ctx: RunContext) -> StepPlan:
    arguments = {"name": run.vars["name"], "n": 1000, "work_s": 0.0, "flaky": False}
    return StepPlan("book", effect=Effect(EffectType.LLM_CALL, arguments, "booked"), next_node="booked")


def _booked(run: RunState, ctx: RunContext) -> StepPlan:
    output = {"receipts": run.vars["receipts"], "booked": run.vars["booked"]["receipt"]}
    return StepPlan("booked", complete_output=output)


def _listen(run: RunState, ctx: RunContext) -> StepPlan:
    """Wait for each of ``keys`` in turn."""
    heard = run.vars.setdefault("heard", [])
    if "event" in run.vars:
        heard.append(run.vars.pop("event"))
    if len(heard) == len(run.vars["keys"]):
        return StepPlan("listen", complete_output={"heard": heard})
    payload = {"wait_key": run.vars["keys"][len(heard)]}
    return StepPlan("listen", effect=Effect(EffectType.WAIT_EVENT, payload, "event"), next_node="listen")


def _ask(run: RunState, ctx: RunContext) -> StepPlan:
    """Ask a person for each of ``questions`` in turn."""
    answers = run.vars.setdefault("answers", [])
    if "answer" in run.vars:
        answers.append(run.vars.pop("answer"))
    if len(answers) == len(run.vars["questions"]):
        return StepPlan("ask", complete_output={"answers": answers})
    question = run.vars["questions"][len(answers)]
    payload = {"prompt": "Go on?", "wait_key": question}
    return StepPlan("ask", effect=Effect(EffectType.ASK_USER, payload, "answer"), next_node="ask")


def _hear(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.WAIT_EVENT, {"name": "ping"}, "event")
    return StepPlan("hear", effect=effect, next_node="heard")


def _heard(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("heard", complete_output={"ping": run.vars["event"]["payload"]})


def _tell(run: RunState, ctx: RunContext) -> StepPlan:
    effect = Effect(EffectType.EMIT_EVENT, {"name": "ping", "payload": run.vars["ping"]})
    return StepPlan("tell", effect=effect, next_node="told")


def _told(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("told", complete_output={"told": True})


def _parent(run: RunState, ctx: RunContext) -> StepPlan:
    payload = {"workflow_id": run.vars["child"], "vars": run.vars["child_vars"]}
    effect = Effect(EffectType.START_SUBWORKFLOW, payload, "awaited")
    return StepPlan("parent", effect=effect, next_node="send_off")


def _send_off(run: RunState, ctx: RunContext) -> StepPlan:
    payload = {"workflow_id": "steps", "vars": {"steps": 3}, "async": True}
    effect = Effect(EffectType.START_SUBWORKFLOW, payload, "sent")
    return StepPlan("send_off", effect=effect, next_node="family_done")


def _family_done(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("family_done", complete_output={"child": run.vars["awaited"]["output"]})


def _poison(run: RunState, ctx: RunContext) -> StepPlan:
    raise RuntimeError(POISON)


def _fragile(run: RunState, ctx: RunContext) -> StepPlan:
    if run.vars["_limits"]["max_iterations"] < MENDED_AT:
        raise RuntimeError("not mended yet")
    return StepPlan("fragile", complete_output={"mended": True})


def _call(run: RunState, effect: Effect) -> EffectOutcome:
    """Ask the oracle; whatever goes wrong on the way is a failed attempt, tried again by the policy."""
    calls = effect.payload.get("tool_calls")
    arguments = calls[0]["arguments"] if calls else effect.payload
    attempt = current_effect()
    body = {
        "run_id": run.run_id,
        "attempt": attempt.attempt,
        "name": arguments["name"],
        "n": arguments["n"],
        "work_s": arguments["work_s"],
        "flaky": arguments["flaky"],
    }
    request = urllib.request.Request(
        os.environ[ORACLE_URL] + "/charge",
        data=json.dumps(body).encode(),
        headers={"Idempotency-Key": attempt.idempotency_key, "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:
            return EffectOutcome.completed(json.load(answer))
    except urllib.error.HTTPError as refusal:
        with refusal:
            return EffectOutcome.failed(f"the oracle refused: {refusal.code}")


app = App(
    name="chaos",
    # A fault may meet the same step several times; what is tested is that it goes on, not when it gives up.
    policy=DefaultEffectPolicy(
        default_backoff_base=0.3,
        default_backoff_max=1.0,
        effect_max_attempts={"tool_calls": 50, "llm_call": 50},
    ),
    node_retry=NodeRetry(max_attempts=2, backoff_s=0.3),
    workflows=[
        WorkflowSpec("steps", "step", {"step": _step}),
        WorkflowSpec("sleep", "nap", {"nap": _nap}),
        WorkflowSpec(
            "charge", "charge", {"charge": _charge, "charged": _charged, "book": _book, "booked": _booked}
        ),
        WorkflowSpec("listen", "nap", {"nap": _nap, "listen": _listen}),
        WorkflowSpec("ask", "ask", {"ask": _ask}),
        WorkflowSpec("hear", "nap", {"nap": _nap, "hear": _hear, "heard": _heard}),
        WorkflowSpec("tell", "nap", {"nap": _nap, "tell": _tell, "told": _told}),
        WorkflowSpec(
            "family", "parent", {"parent": _parent, "send_off": _send_off, "family_done": _family_done}
        ),
        WorkflowSpec("poison", "poison", {"poison": _poison}),
        WorkflowSpec("fragile", "fragile", {"fragile": _fragile}),
    ],
)
app.effect(EffectType.TOOL_CALLS)(_call)
app.effect(EffectType.LLM_CALL, quick=True)(_call)
