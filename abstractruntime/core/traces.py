"""Node traces, derived from the ledger (`spec/01 §11.1`).

The checkpoint holds no trace: each effect step's outcome is in the ledger already, so a trace is a view of
it. Only reused results leave no ledger record; the kernel keeps a small mark for those
(`_runtime.reused_steps`) and the view takes their result from the ledger too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from datetime import datetime
from typing import Any

from .derived import Derived
from .models import EffectType, RunState

__all__ = ["attach_traces", "derive_traces", "empty_trace"]

MAX_TRACE_STEPS = 100
_EFFECT_TYPES = {member.value for member in EffectType}


def empty_trace(node_id: str) -> dict[str, Any]:
    """The trace of a node without effect steps."""
    return {"node_id": node_id, "steps": []}


def attach_traces(run: RunState, ledger: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
    """Serve ``vars["_runtime"]["node_traces"]`` as a view of the ledger."""
    runtime = run.vars.get("_runtime")
    if isinstance(runtime, dict):
        marks = runtime.get("reused_steps")
        runtime["node_traces"] = Derived(lambda: derive_traces(ledger(), marks))


def derive_traces(ledger: Iterable[Mapping[str, Any]], reused: object = None) -> dict[str, Any]:
    """All node traces of a run: by node, at most the last 100 steps each, in time order."""
    traces: dict[str, Any] = {}
    completed: dict[str, Mapping[str, Any]] = {}
    begun: dict[str, str] = {}
    for record in ledger:
        key, effect = record.get("idempotency_key"), record.get("effect")
        if key is None or effect is None or str(key).startswith("system:"):
            continue
        if effect.get("type") not in _EFFECT_TYPES:
            continue
        _follow(traces, begun, record, str(key))
        if record["status"] == "completed":
            completed.setdefault(str(key), record)
    _add_reused(traces, completed, reused)
    for trace in traces.values():
        trace["steps"].sort(key=lambda entry: entry["ts"])
        del trace["steps"][:-MAX_TRACE_STEPS]
        trace["updated_at"] = trace["steps"][-1]["ts"]
    return traces


def _follow(traces: dict[str, Any], begun: dict[str, str], record: Mapping[str, Any], key: str) -> None:
    """One entry per step, not per attempt: a later attempt's outcome replaces the earlier failure."""
    if record["status"] == "started":
        if record.get("attempt", 1) == 1 or key not in begun:
            begun[key] = record["started_at"]
        return
    steps = _steps(traces, record["node_id"])
    is_retry = record.get("attempt", 1) > 1 and bool(steps)
    if is_retry and steps[-1]["idempotency_key"] == key and steps[-1]["status"] == "failed":
        steps.pop()
    steps.append(_entry(record, since=begun.get(key, record["started_at"])))


def _steps(traces: dict[str, Any], node_id: str) -> list[dict[str, Any]]:
    trace = traces.setdefault(node_id, {"node_id": node_id, "steps": [], "updated_at": ""})
    steps: list[dict[str, Any]] = trace["steps"]
    return steps


def _entry(
    record: Mapping[str, Any], *, since: str, ts: str | None = None, reused: bool = False
) -> dict[str, Any]:
    status = str(getattr(record["status"], "value", record["status"]))
    ended = ts or record.get("ended_at") or record["started_at"]
    entry: dict[str, Any] = {
        "ts": ended,
        "node_id": record["node_id"],
        "status": status,
        "idempotency_key": record["idempotency_key"],
        "reused_prior_result": reused,
        "effect": record["effect"],
        "duration_ms": 0.0 if reused else _milliseconds(since, ended),
    }
    result = record.get("result")
    if status == "waiting":
        entry["wait"] = (result or {}).get("wait")
    elif status == "failed":
        entry["error"] = record.get("error")
    else:
        entry["result"] = result
    return deepcopy(entry) if _is_json(entry) else _unsafe(entry)


def _is_json(entry: dict[str, Any]) -> bool:
    try:
        json.dumps(entry)
    except (TypeError, ValueError):
        return False
    return True


def _unsafe(entry: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: entry[name] for name in ("ts", "node_id", "status", "idempotency_key", "reused_prior_result")
    }
    effect = entry["effect"]
    kept["effect"] = {"type": effect.get("type"), "result_key": effect.get("result_key")}
    kept["error"] = "non_json_safe_trace_entry"
    return kept


def _milliseconds(start: str, end: str) -> float:
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except ValueError:
        return 0.0
    return max(0.0, seconds * 1000.0)


def _add_reused(traces: dict[str, Any], completed: dict[str, Mapping[str, Any]], reused: object) -> None:
    if not isinstance(reused, dict):
        return
    for node_id, marks in reused.items():
        for ts, key in marks:
            record = completed.get(key)
            if record is not None:
                entry = _entry(record, since=ts, ts=ts, reused=True)
                _steps(traces, node_id).append(entry)
