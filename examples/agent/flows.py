"""An agent that pays invoices: it thinks, calls tools, and asks a person before it moves money.

Each thought and each tool call is a durable effect. Kill any process at any moment: the run goes on where it
was, and no call is made twice that the other side can recognise by its key.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from abstractruntime import App, Effect, EffectType, RetryPolicy, StepPlan, WorkflowSpec
from abstractruntime.core.effect_context import current_effect
from abstractruntime.integrations.abstractcore.fleet import declare_effects, per_provider

NEEDS_APPROVAL = {"pay_invoice"}
MAX_TURNS = 8
SYSTEM = "You pay invoices. Look an invoice up before you pay it."


# -- tools -------------------------------------------------------------------------------------------


def look_up_invoice(number: str) -> dict[str, Any]:
    """Who wants how much for this invoice."""
    return _ask(f"/invoices/{number}")


def pay_invoice(number: str, amount: int) -> dict[str, Any]:
    """Pay it, once: the bank knows the call again by its key."""
    return _ask("/payments", {"number": number, "amount": amount}, key=current_effect().idempotency_key)


def _ask(path: str, body: dict[str, Any] | None = None, *, key: str = "") -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    request = urllib.request.Request(os.environ["AGENT_OUTSIDE_URL"] + path, data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


TOOLS = [
    {
        "name": "look_up_invoice",
        "description": "Who wants how much for an invoice.",
        "parameters": {"number": {"type": "string"}},
    },
    {
        "name": "pay_invoice",
        "description": "Pay an invoice.",
        "parameters": {"number": {"type": "string"}, "amount": {"type": "integer"}},
    },
]


# -- the loop ----------------------------------------------------------------------------------------


def think(run, ctx):
    messages = run.vars.setdefault("messages", [{"role": "user", "content": run.vars["task"]}])
    run.vars["turn"] = run.vars.get("turn", 0) + 1
    if run.vars["turn"] > MAX_TURNS:
        return StepPlan("think", complete_output={"answer": None, "stopped": f"after {MAX_TURNS} turns"})
    payload = {"messages": messages, "tools": TOOLS, "system_prompt": SYSTEM}
    return StepPlan("think", Effect(EffectType.LLM_CALL, payload, "reply"), next_node="decide")


def decide(run, ctx):
    reply = run.vars["reply"]
    calls = reply.get("tool_calls") or []
    if not calls:
        return StepPlan("decide", complete_output={"answer": reply.get("content")})
    run.vars["messages"].append({"role": "assistant", "content": "", "tool_calls": _as_openai(calls)})
    risky = [call for call in calls if call["name"] in NEEDS_APPROVAL]
    if not risky:
        return StepPlan("decide", next_node="act")
    asked = "; ".join(f"{call['name']}({call['arguments']})" for call in risky)
    question = {"prompt": f"May I {asked}?", "choices": ["yes", "no"], "turn": run.vars["turn"]}
    return StepPlan("decide", Effect(EffectType.ASK_USER, question, "approval"), next_node="act")


def act(run, ctx):
    calls = run.vars["reply"]["tool_calls"]
    approval = run.vars.pop("approval", None)
    if approval is not None and approval.get("text") != "yes":
        run.vars["results"] = {"results": [_rejected(call) for call in calls]}
        return StepPlan("act", next_node="observe")
    payload = {"tool_calls": calls, "allowed_tools": [tool["name"] for tool in TOOLS]}
    return StepPlan("act", Effect(EffectType.TOOL_CALLS, payload, "results"), next_node="observe")


def observe(run, ctx):
    for result in run.vars["results"]["results"]:
        said = result["output"] if result["success"] else {"error": result["error"]}
        message = {"role": "tool", "tool_call_id": result["call_id"], "content": json.dumps(said)}
        run.vars["messages"].append(message)
    return StepPlan("observe", next_node="think")


def _as_openai(calls):
    return [
        {
            "id": call["call_id"],
            "type": "function",
            "function": {"name": call["name"], "arguments": json.dumps(call["arguments"])},
        }
        for call in calls
    ]


def _rejected(call):
    return {**call, "success": False, "output": None, "error": "rejected by the person who was asked"}


# -- the deployment ----------------------------------------------------------------------------------


def _llm():
    from abstractruntime.integrations.abstractcore.llm_client import MultiLocalAbstractCoreLLMClient

    return MultiLocalAbstractCoreLLMClient(
        provider="openai-compatible",
        model="gpt-4o",
        llm_kwargs={"base_url": os.environ["AGENT_OUTSIDE_URL"] + "/v1"},
    )


def _tools():
    from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor

    return MappingToolExecutor.from_tools([look_up_invoice, pay_invoice], timeout_s=60)


agent = WorkflowSpec(
    workflow_id="agent",
    entry_node="think",
    nodes={"think": think, "decide": decide, "act": act, "observe": observe},
)
app = App(name="agent", workflows=[agent], policy=RetryPolicy(llm_max_attempts=3, tool_max_attempts=2))
declare_effects(app, llm=_llm, tools=_tools, llm_limits=[per_provider(concurrency=8, default="openai")])
