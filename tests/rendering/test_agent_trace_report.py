"""`spec/03 §16.2`: the trace report."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from abstractruntime import Effect, EffectType, InMemoryLedgerStore, InMemoryRunStore, Runtime, StepPlan
from abstractruntime.core.runtime import EffectOutcome
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.rendering import AgentTraceMarkdownReportConfig, render_agent_trace_markdown

TICKS = "```"


def step(
    kind: str, ts: str = "2026-01-01T00:00:00", status: str = "completed", **fields: Any
) -> dict[str, Any]:
    payload = fields.pop("payload", {})
    return {
        "ts": ts,
        "node_id": "n",
        "status": status,
        "effect": {"type": kind, "payload": payload},
        **fields,
    }


def report(*steps: dict[str, Any], **options: Any) -> str:
    config = AgentTraceMarkdownReportConfig(**options)
    return render_agent_trace_markdown({"node_traces": {"n": {"steps": list(steps)}}}, config=config)


def test_nothing_to_show() -> None:
    assert render_agent_trace_markdown(None) == "# Agent Trace Report\n\n_No scratchpad provided._\n"
    for empty in ({}, {"node_traces": {}}, {"node_traces": 3}):
        text = render_agent_trace_markdown(empty)
        assert text == "# Agent Trace Report\n\n_No node_traces found in scratchpad._\n"
    text = render_agent_trace_markdown({"sub_run_id": "s", "node_traces": {"n": {"steps": []}}})
    assert text == "# Agent Trace Report\n- **sub_run_id**: `s`\n\n_No trace steps found._\n"


def test_header_and_order_of_steps() -> None:
    traces = {
        "b": {"node_id": "b", "steps": [{**step("ask_user", "2"), "node_id": "b"}]},
        "a": {"node_id": "a", "steps": [{**step("vars_query", "1"), "node_id": "a", "duration_ms": 1.23456}]},
    }
    text = render_agent_trace_markdown({"sub_run_id": "s", "workflow_id": "w", "node_traces": traces})
    assert text.startswith(
        "# Agent Trace Report\n- **sub_run_id**: `s`\n- **workflow_id**: `w`\n\n## Timeline\n\n"
        "### 1. `a` — `vars_query` (completed)\n- **duration_ms**: 1.235\n"
    )
    assert "### 2. `b` — `ask_user` (completed)" in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")
    assert "**ts**" not in text


def test_one_trace_alone() -> None:
    text = render_agent_trace_markdown(
        {"node_id": "x", "steps": [{"ts": "1", "effect": {"type": "ask_user"}}]}
    )
    assert "### 1. `x` — `ask_user` ()" in text


def test_timestamps_on_demand() -> None:
    assert "- **ts**: `2026`" in report(step("ask_user", "2026"), include_timestamps=True)


def test_a_failed_step_shows_its_error_only() -> None:
    text = report(step("llm_call", status="failed", error="no model", result={"content": "hidden"}))
    assert f"**Error**\n{TICKS}text\nno model\n{TICKS}" in text
    assert "hidden" not in text
    assert "tool_calls_requested" not in text


def test_llm_call() -> None:
    result = {
        "model": "m",
        "finish_reason": "stop",
        "content": "Hello",
        "tool_calls": [{"name": "look", "call_id": "c1"}],
    }
    text = report(step("llm_call", payload={"prompt": "secret request"}, result=result))
    assert "- **model**: `m`\n- **finish_reason**: `stop`\n" in text
    assert "- **tool_calls_requested**:\n  - `look` (call_id=c1)\n" in text
    assert f"**Assistant content**\n{TICKS}markdown\nHello\n{TICKS}" in text
    assert "secret request" not in text
    for none in ({}, {"tool_calls": {}}, {"tool_calls": []}, {"tool_calls": None}):
        assert "- **tool_calls_requested**: none" in report(step("llm_call", result={"content": " ", **none}))


def test_tool_calls() -> None:
    calls = [
        {"name": "add", "arguments": {"x": 1}, "call_id": "1"},
        {"name": "say", "arguments": {}, "call_id": "2"},
        {"name": "lost", "arguments": {}, "call_id": "3"},
    ]
    results = [
        {"call_id": "2", "success": False, "output": "x" * 20_000, "error": "late"},
        {"call_id": "1", "success": True, "output": {"sum": 2}, "error": None},
    ]
    text = report(step("tool_calls", payload={"tool_calls": calls}, result={"results": results}))
    add, say, lost = text.split("#### Tool: ")[1:]
    assert add.startswith(f'`add` (call_id=1)\n\n**Arguments**\n{TICKS}json\n{{\n  "x": 1\n}}\n{TICKS}')
    assert f'- **success**: true\n\n{TICKS}json\n{{\n  "sum": 2\n}}\n{TICKS}' in add
    assert "**error**" not in add
    assert "- **success**: false\n- **error**: late\n" in say
    assert f"{TICKS}text\n{'x' * 20_000}\n{TICKS}" in say
    assert "_missing tool result in trace entry_" in lost


def test_one_call_instead_of_a_list_and_none() -> None:
    call = {"name": "add", "call_id": "1"}
    text = report(step("tool_calls", payload={"tool_calls": call}, result={"results": [{"call_id": "1"}]}))
    assert f"{TICKS}json\nnull\n{TICKS}" in text
    assert "- **tool_calls**: none" in report(step("tool_calls", payload={"tool_calls": []}))


def test_other_results_and_the_layout_asked_for() -> None:
    assert f'**Result (raw)**\n{TICKS}json\n{{\n  "a": 1\n}}' in report(step("ask_user", result={"a": 1}))
    minified = report(step("ask_user", result={"a": 1}), json_mode="minified")
    assert f'{TICKS}json\n{{"a":1}}\n{TICKS}' in minified


def test_contents_do_not_break_their_fence() -> None:
    text = report(step("llm_call", result={"content": "````md\n# Not a heading of the report\n````"}))
    assert "`````markdown\n````md" in text
    assert "(call_id=1)" in report(step("tool_calls", payload={"tool_calls": {"name": "a`b", "call_id": 1}}))


def test_traces_of_a_real_run() -> None:
    def ask(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("ask", Effect(EffectType.LLM_CALL, {"prompt": "?"}, "answer"), "end")

    def end(run: Any, ctx: Any) -> StepPlan:
        return StepPlan("end", complete_output={"ok": True})

    workflow = WorkflowSpec("w", "ask", {"ask": ask, "end": end})
    runtime = Runtime(
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        effect_handlers={
            EffectType.LLM_CALL: lambda run, effect, node: EffectOutcome.completed({"content": "42"})
        },
    )
    run_id = runtime.start(workflow=workflow)
    state = runtime.tick(workflow=workflow, run_id=run_id)
    text = render_agent_trace_markdown(state.vars["_runtime"])
    assert "### 1. `ask` — `llm_call` (completed)" in text
    assert "42" in text


def test_needs_no_optional_package() -> None:
    code = "import sys, abstractruntime.rendering; print({'sqlalchemy', 'celery'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
