"""The tool-style result shape, and how host results are merged back into a tool wait.

Shapes: `spec/01 §12.6` (subworkflow as a tool), §13.4, §13.5.
"""

from __future__ import annotations

import json
from typing import Any

from .models import WaitState

__all__ = [
    "child_error",
    "merge_tool_results",
    "not_allowed",
    "subworkflow_output",
    "tool_result",
    "wrap_child_payload",
]

MAX_REPORT_CHARS = 4000
_MISSING: Any = object()


def not_allowed(name: str) -> str:
    """The error of a call whose tool the node's allowlist does not name; nobody is shown its arguments."""
    return f"Tool '{name}' is not allowed for this node"


def tool_result(call_id: str, name: str, *, output: Any = None, error: str | None = None) -> dict[str, Any]:
    """One executed call in tool style; with an ``error`` it did not succeed and has no output."""
    entry = {
        "call_id": call_id,
        "name": name,
        "success": error is None,
        "output": output if error is None else None,
        "error": error,
    }
    return {"mode": "executed", "results": [entry]}


def subworkflow_output(output: Any, sub_run_id: str | None) -> dict[str, Any]:
    """A child's output as a model reads it: ``rendered``, ``answer``, ``sub_run_id`` and maybe ``report``."""
    answer = _answer_text(output)
    rendered: dict[str, Any] = {"rendered": answer, "answer": answer, "sub_run_id": sub_run_id}
    report = output.get("report") if isinstance(output, dict) else None
    if isinstance(report, str) and report.strip() and len(report.strip()) <= MAX_REPORT_CHARS:
        rendered["report"] = report.strip()
    return rendered


def _answer_text(output: Any) -> str:
    answer = output.get("answer") if isinstance(output, dict) else None
    for text in (answer, output):
        if isinstance(text, str) and text.strip():
            return text.strip()
    return json.dumps(output, ensure_ascii=False, default=str)


def child_error(output: Any) -> str | None:
    """Why a child that completed did not succeed: ``{"success": false, "error": ...}``."""
    if not isinstance(output, dict) or output.get("success") is not False:
        return None
    error = output.get("error")
    return str(error) if error else "Subworkflow failed"


def wrap_child_payload(wait: WaitState, payload: Any) -> Any:
    """A child's result as the parent that asked for a tool result receives it (`spec/01 §13.4`)."""
    details = wait.details or {}
    if not details.get("wrap_as_tool_result") or not isinstance(payload, dict):
        return payload
    if "mode" in payload and "results" in payload:
        return payload
    call_id = str(details.get("call_id") or "subworkflow")
    name = str(details.get("tool_name") or "start_subworkflow")
    output = payload.get("output")
    error = child_error(output)
    if error is not None:
        return tool_result(call_id, name, error=error)
    sub_run_id = payload.get("sub_run_id") or details.get("sub_run_id")
    return tool_result(call_id, name, output=subworkflow_output(output, sub_run_id))


def merge_tool_results(wait: WaitState, payload: Any) -> Any:
    """Host results put back among the calls that were blocked or answered before (`spec/01 §13.5`)."""
    details = wait.details or {}
    count = details.get("original_call_count")
    blocked, pre = details.get("blocked_by_index"), details.get("pre_results_by_index")
    fixed: dict[str, Any] = {}
    for entries in (blocked, pre):  # a pre-result wins over a blocked entry
        if isinstance(entries, dict):
            fixed.update(entries)
    results = payload.get("results") if isinstance(payload, dict) else None
    if not fixed or isinstance(count, bool) or not isinstance(count, int) or count <= 0:
        return payload
    if not isinstance(results, list) or len(results) == count:
        return payload
    rest = iter(_in_order(results, details.get("tool_calls")))
    merged = [fixed[str(i)] if str(i) in fixed else next(rest, _MISSING) for i in range(count)]
    merged = [_missing() if entry is _MISSING else entry for entry in merged]
    return {"mode": "executed", **payload, "results": merged}


def _in_order(results: list[Any], calls: Any) -> list[Any]:
    """Host results in the order of the calls it was given, if all of them say whose they are
    (`spec/04 §16.9`); else as they came. A call without a result keeps its place."""
    exposed = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for key in ("runtime_call_id", "call_id"):
        ids = [call.get(key) for call in exposed]
        named = (result for result in results if isinstance(result, dict))
        by_id = {result[key]: result for result in named if isinstance(result.get(key), str)}
        is_told = all(isinstance(one, str) and one for one in ids) and len(set(ids)) == len(ids)
        if is_told and len(by_id) == len(results) and set(by_id) <= set(ids):
            return [by_id.get(one, _MISSING) for one in ids]
    return results


def _missing() -> dict[str, Any]:
    return {
        "call_id": "",
        "runtime_call_id": None,
        "name": "",
        "success": False,
        "output": None,
        "error": "Missing tool result",
    }
