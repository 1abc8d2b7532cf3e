"""Node traces, derived from the ledger (`spec/01 §11.1`).

The checkpoint holds no trace: each effect step's outcome is in the ledger already, so a trace is a view of
it. Only reused results leave no ledger record; the kernel keeps a small mark for those
(`_runtime.reused_steps`) and the view takes their result from the ledger too. Traces that an older release
stored in the checkpoint stay there as they are; the view goes on where they end.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from .derived import Derived
from .effect_step import EffectStep
from .models import EffectType, RunState
from .outcome import failed_effect
from .step_stamp import step_stamp
from .store_ports import PutBack
from .vars import NODE_TRACES

__all__ = [
    "attach_traces",
    "derive_traces",
    "empty_trace",
    "mark_reused",
    "mark_traced",
    "renew_traces",
    "stored_traces",
]

MAX_TRACE_STEPS = 100
_REUSED = "reused_steps"
_EFFECT_TYPES = {member.value for member in EffectType}

Record = Mapping[str, Any]


def empty_trace(node_id: str) -> dict[str, Any]:
    """The trace of a node without effect steps."""
    return {"node_id": node_id, "steps": []}


def mark_traced(run: RunState) -> None:
    """The run has taken an effect step: from now on its ``vars`` have a place for node traces."""
    runtime = run.vars.get("_runtime")
    if not isinstance(runtime, dict) or NODE_TRACES not in runtime:
        _runtime(run)[NODE_TRACES] = {}


def mark_reused(run: RunState, step: EffectStep, ts: str) -> None:
    """A reused result leaves no ledger record (`spec/01 §5.5`), so its trace needs a mark of its own: when it
    was taken, its key, since when the run stood before the step, and where the result went."""
    reused = _runtime(run).setdefault(_REUSED, {})
    marks = reused.setdefault(step.node_id, [])
    marks.append([ts, step.key, step_stamp(run), step.effect.result_key])
    del marks[:-MAX_TRACE_STEPS]


def _runtime(run: RunState) -> dict[str, Any]:
    runtime = run.vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = run.vars["_runtime"] = {}
    return runtime


def attach_traces(
    run: RunState, ledger: Callable[[], Iterable[Record]], put_back: PutBack | None = None
) -> None:
    """Serve ``vars["_runtime"]["node_traces"]`` as a view of the ledger, once there is an effect step."""
    runtime = run.vars.get("_runtime")
    if isinstance(runtime, dict) and NODE_TRACES in runtime:
        stored = stored_traces(run)
        runtime[NODE_TRACES] = Derived(
            lambda: derive_traces(ledger(), runtime.get(_REUSED), stored, put_back), stored=stored
        )


def stored_traces(run: RunState) -> dict[str, Any]:
    """What the checkpoint itself holds of node traces: an older release kept them there."""
    runtime = run.vars.get("_runtime")
    traces = runtime.get(NODE_TRACES) if isinstance(runtime, dict) else None
    if isinstance(traces, Derived):
        return traces.stored
    return traces if isinstance(traces, dict) else {}


def renew_traces(run: RunState) -> bool:
    """After a step: traces that somebody has read already are out of date. False if there is no view of them
    yet; then `attach_traces` makes it."""
    runtime = run.vars.get("_runtime")
    traces = runtime.get(NODE_TRACES) if isinstance(runtime, dict) else None
    if isinstance(traces, Derived):
        traces.refresh()
        return True
    return traces is None


@dataclass(slots=True)
class _Step:
    """One effect step: its outcome record, when its first attempt began, when it ended."""

    record: Record
    since: str
    ts: str
    reused: bool = False

    @property
    def is_failed(self) -> bool:
        return bool(self.record["status"] == "failed")


def derive_traces(
    ledger: Iterable[Record],
    reused: object = None,
    stored: Mapping[str, Any] | None = None,
    put_back: PutBack | None = None,
) -> dict[str, Any]:
    """All node traces of a run: by node, at most the last 100 steps each, in time order.

    Args:
        ledger: the run's records in order.
        reused: the run's ``_runtime.reused_steps``.
        stored: `stored_traces` of the run; only later steps come from the ledger.
        put_back: where ledger or run store keep large values elsewhere.
    """
    whole = put_back or _as_it_is
    steps: dict[str, list[_Step]] = defaultdict(list)
    completed: dict[str, Record] = {}
    begun: dict[str, str] = {}
    for record in ledger:
        if _is_effect_step(record):
            _follow(steps[record["node_id"]], begun, record)
            if record["status"] == "completed":
                completed.setdefault(record["idempotency_key"], record)
    for node_id, mark in _marks(reused):
        if mark.key in completed:
            _take_again(steps, node_id, mark, completed[mark.key])
    if stored:
        return _continued(stored, steps, whole)
    return {node_id: _trace(node_id, taken, whole) for node_id, taken in steps.items() if taken}


def _as_it_is(value: Any) -> Any:
    return value


def _continued(stored: Mapping[str, Any], steps: Mapping[str, list[_Step]], whole: PutBack) -> dict[str, Any]:
    """Stored traces, and after them the steps that came later."""
    traces: dict[str, Any] = deepcopy(whole(dict(stored)))
    kept = [trace for trace in traces.values() if isinstance(trace, dict)]
    last = max((str(trace.get("updated_at") or "") for trace in kept), default="")
    for node_id, taken in steps.items():
        newer = [step for step in taken if step.ts > last]
        if not newer:
            continue
        trace = _trace(node_id, newer, whole)
        earlier = traces.get(node_id)
        if isinstance(earlier, dict) and isinstance(earlier.get("steps"), list):
            trace["steps"] = [*earlier["steps"], *trace["steps"]][-MAX_TRACE_STEPS:]
        traces[node_id] = trace
    return traces


def _is_effect_step(record: Record) -> bool:
    """Effect steps carry a key; completion, resume and control records and the status event do not."""
    key, effect = record.get("idempotency_key"), record.get("effect")
    if key is None or effect is None or str(key).startswith("system:"):
        return False
    return effect.get("type") in _EFFECT_TYPES


def _follow(steps: list[_Step], begun: dict[str, str], record: Record) -> None:
    """One entry per step, not per attempt: a later attempt's outcome replaces the earlier failure."""
    key, is_retry = record["idempotency_key"], record.get("attempt", 1) > 1
    if record["status"] == "started":
        if not is_retry or key not in begun:
            begun[key] = record["started_at"]
        return
    if is_retry and steps and steps[-1].is_failed and steps[-1].record["idempotency_key"] == key:
        steps.pop()
    ended = _ended(record)
    steps.append(_Step(record, since=begun.get(key) or ended, ts=ended))


class _Mark(NamedTuple):
    """See `mark_reused`; an older release left only the first two."""

    ts: str
    key: str
    since: str | None = None
    result_key: str | None = None


def _marks(reused: object) -> Iterable[tuple[str, _Mark]]:
    if not isinstance(reused, dict):
        return
    for node_id, marks in reused.items():
        for mark in marks if isinstance(marks, list) else ():
            yield node_id, _Mark(*mark)


def _take_again(steps: dict[str, list[_Step]], node_id: str, mark: _Mark, record: Record) -> None:
    """The result of ``record`` was used again: by another visit, or by the very step whose process died, or
    was told to stop, between the record and the checkpoint. Then there is one entry, not two."""
    if mark.since is not None:
        record = {**record, "effect": {**record["effect"], "result_key": mark.result_key}}
        if _ended(record) > mark.since:
            first = steps[record["node_id"]]
            first[:] = [step for step in first if step.record.get("step_id") != record.get("step_id")]
    steps[node_id].append(_Step(record, since=mark.ts, ts=mark.ts, reused=True))


def _ended(record: Record) -> str:
    return record.get("ended_at") or record["started_at"] or ""


def _trace(node_id: str, steps: list[_Step], whole: PutBack) -> dict[str, Any]:
    kept = sorted(steps, key=lambda step: step.ts)[-MAX_TRACE_STEPS:]
    entries = [_entry(node_id, step, whole) for step in kept]
    return {"node_id": node_id, "steps": entries, "updated_at": kept[-1].ts}


def _entry(node_id: str, step: _Step, whole: PutBack) -> dict[str, Any]:
    record = step.record
    status = str(getattr(record["status"], "value", record["status"]))
    entry: dict[str, Any] = {
        "ts": step.ts,
        "node_id": node_id,
        "status": status,
        "idempotency_key": record["idempotency_key"],
        "reused_prior_result": step.reused,
        "effect": whole(record["effect"]),
        "duration_ms": 0.0 if step.reused else _milliseconds(step.since, step.ts),
    }
    result = whole(record.get("result"))
    if status == "waiting":
        entry["wait"] = (result or {}).get("wait")
    elif status == "failed":
        entry["error"] = failed_effect(record.get("attempt") or 1, record.get("error"))
    else:
        entry["result"] = result
    return deepcopy(entry) if _is_json(entry) else _unsafe(entry)


def _is_json(entry: dict[str, Any]) -> bool:
    try:
        json.dumps(entry)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _unsafe(entry: dict[str, Any]) -> dict[str, Any]:
    names = ("ts", "node_id", "status", "idempotency_key", "reused_prior_result")
    effect = entry["effect"]
    return {
        **{name: entry[name] for name in names},
        "effect": {"type": effect.get("type"), "result_key": effect.get("result_key")},
        "error": "non_json_safe_trace_entry",
    }


def _milliseconds(start: str, end: str) -> float:
    try:
        seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except (TypeError, ValueError):  # text from elsewhere: no time, or one without its offset
        return 0.0
    return max(0.0, seconds * 1000.0)
