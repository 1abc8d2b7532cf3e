"""What an agent did, step by step, as Markdown (`spec/03 §16.2`). Nothing is truncated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .json_stringify import JsonStringifyMode, stringify_json
from .markdown import code_span, fenced

__all__ = ["AgentTraceMarkdownReportConfig", "render_agent_trace_markdown"]

_TITLE = "# Agent Trace Report"

Lines = list[str]
Object = Mapping[str, Any]


@dataclass(frozen=True)
class AgentTraceMarkdownReportConfig:
    """What a report looks like.

    Attributes:
        include_timestamps: whether each step tells its time.
        json_mode: layout of arguments, results and outputs.
    """

    include_timestamps: bool = False
    json_mode: JsonStringifyMode | str = JsonStringifyMode.BEAUTIFY


def render_agent_trace_markdown(
    scratchpad: object, *, config: AgentTraceMarkdownReportConfig | None = None
) -> str:
    """A report of node traces; ends with exactly one newline.

    Args:
        scratchpad: an object with ``node_traces`` (as in ``_runtime.node_traces``) and perhaps
            ``sub_run_id`` and ``workflow_id``, or one trace (``node_id`` and ``steps``).
        config: default: no timestamps, beautified JSON.
    """
    if not isinstance(scratchpad, Mapping):
        return f"{_TITLE}\n\n_No scratchpad provided._\n"
    traces = _traces(scratchpad)
    if not traces:
        return f"{_TITLE}\n\n_No node_traces found in scratchpad._\n"
    lines = [_TITLE]
    for name in ("sub_run_id", "workflow_id"):
        if scratchpad.get(name):
            lines.append(f"- **{name}**: {code_span(scratchpad[name])}")
    steps = sorted(_steps(traces), key=lambda step: _text(step[1].get("ts")))
    if not steps:
        return "\n".join([*lines, "", "_No trace steps found._"]) + "\n"
    lines += ["", "## Timeline", ""]
    look = config or AgentTraceMarkdownReportConfig()
    for number, (node_id, step) in enumerate(steps, start=1):
        lines += _step(number, node_id, step, look)
    return "\n".join(lines).rstrip() + "\n"


def _traces(scratchpad: Object) -> Object:
    """Traces by node id."""
    traces = scratchpad.get("node_traces")
    if isinstance(traces, Mapping):
        return traces
    if scratchpad.get("node_id") and isinstance(scratchpad.get("steps"), list):
        return {_text(scratchpad["node_id"]): scratchpad}
    return {}


def _steps(traces: Object) -> Iterator[tuple[str, Object]]:
    for key, trace in traces.items():
        steps = _object(trace).get("steps")
        for step in steps if isinstance(steps, list) else ():
            if isinstance(step, Mapping):
                yield _text(step.get("node_id") or _object(trace).get("node_id") or key), step


def _step(number: int, node_id: str, step: Object, look: AgentTraceMarkdownReportConfig) -> Lines:
    effect = _object(step.get("effect"))
    kind, status = _text(effect.get("type")), _text(step.get("status"))
    lines = [f"### {number}. {code_span(node_id)} — {code_span(kind)} ({status})"]
    if look.include_timestamps and step.get("ts"):
        lines.append(f"- **ts**: {code_span(step['ts'])}")
    duration = step.get("duration_ms")
    if isinstance(duration, (int, float)) and not isinstance(duration, bool):
        lines.append(f"- **duration_ms**: {duration:.3f}")
    if status == "failed":
        return [*lines, "", "**Error**", *fenced(_text(step.get("error")), "text"), ""]
    result = step.get("result")
    if kind == "llm_call":
        return [*lines, *_llm_call(_object(result)), ""]
    if kind == "tool_calls":
        return [*lines, *_tool_calls(_object(effect.get("payload")), _object(result), look), ""]
    if isinstance(result, Mapping):
        lines += ["", "**Result (raw)**", *_json_block(result, look)]
    return [*lines, ""]


def _llm_call(result: Object) -> Lines:
    """The answer; the request is never shown, it repeats the whole conversation."""
    lines = [
        f"- **{name}**: {code_span(result[name])}" for name in ("model", "finish_reason") if result.get(name)
    ]
    requested = _objects(result.get("tool_calls"))
    if requested:
        lines.append("- **tool_calls_requested**:")
        lines += [f"  - {_call_title(call)}" for call in requested]
    else:
        lines.append("- **tool_calls_requested**: none")
    content = result.get("content")
    if isinstance(content, str) and content.strip():
        lines += ["", "**Assistant content**", *fenced(content, "markdown")]
    return lines


def _tool_calls(payload: Object, result: Object, look: AgentTraceMarkdownReportConfig) -> Lines:
    calls = _objects(payload.get("tool_calls"))
    if not calls:
        return ["- **tool_calls**: none"]
    results: dict[str, Object] = {}
    for answer in _objects(result.get("results")):
        results.setdefault(_call_id(answer), answer)
    lines: Lines = []
    for call in calls:
        arguments = _part(call, "arguments")
        lines += ["", f"#### Tool: {_call_title(call)}", "", "**Arguments**"]
        lines += [*_json_block({} if arguments is None else arguments, look), "", "**Result**"]
        call_id = _call_id(call)
        known = results.get(call_id) if call_id else None
        lines += ["_missing tool result in trace entry_"] if known is None else _tool_result(known, look)
    return lines


def _tool_result(result: Object, look: AgentTraceMarkdownReportConfig) -> Lines:
    lines: Lines = []
    if isinstance(result.get("success"), bool):
        lines.append(f"- **success**: {'true' if result['success'] else 'false'}")
    if result.get("error") is not None:
        lines.append(f"- **error**: {result['error']}")
    output = result.get("output")
    if output is None or isinstance(output, (dict, list, int, float)):  # bool is an int
        return [*lines, "", *_json_block(output, look)]
    return [*lines, "", *fenced(str(output), "text")]


def _json_block(value: object, look: AgentTraceMarkdownReportConfig) -> Lines:
    # Text stays text: taking JSON out of it would lose what is around it.
    return fenced(stringify_json(value, mode=look.json_mode, parse_strings=False), "json")


def _call_title(call: Object) -> str:
    return f"{code_span(_text(_part(call, 'name')))} (call_id={_call_id(call)})"


def _call_id(call: Object) -> str:
    return _text(call.get("call_id") or call.get("id"))


def _part(call: Object, name: str) -> object:
    """``name`` or ``arguments`` of a call, also where a provider nests them under ``function``."""
    return call[name] if call.get(name) is not None else _object(call.get("function")).get(name)


def _objects(value: object) -> list[Object]:
    """The objects of a list, or the one object given instead of a list; an empty one is none."""
    if isinstance(value, Mapping):
        return [value] if value else []
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _object(value: object) -> Object:
    return value if isinstance(value, Mapping) else {}


def _text(value: object) -> str:
    if value is None:
        return ""
    # A member of a str enum is its value.
    return str.__str__(value) if isinstance(value, str) else str(value)
