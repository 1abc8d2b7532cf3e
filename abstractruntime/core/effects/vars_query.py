"""VARS_QUERY: look into a run's variables, as a tool would (`spec/01 §12.7`)."""

from __future__ import annotations

import json
from typing import Any

from ..json_safe import json_safe
from ..models import Effect, RunState
from ..outcome import EffectOutcome
from ..tool_results import tool_result
from ..vars import ensure_namespaces, parse_vars_path, resolve_vars_path
from .scope import EffectScope, payload_of

__all__ = ["vars_query"]


def vars_query(run: RunState, effect: Effect, default_next: str | None, scope: EffectScope) -> EffectOutcome:
    """Always a completed outcome in tool style; what went wrong is in its ``error``. Changes nothing."""
    payload = payload_of(effect)
    name = str(payload.get("tool_name") or "inspect_vars")
    call_id = str(payload.get("call_id") or "vars")
    target_id = payload.get("target_run_id") or run.run_id
    target = run if target_id == run.run_id else scope.load_run(str(target_id))
    if target is None:
        return EffectOutcome.completed(
            tool_result(call_id, name, error=f"Unknown target_run_id: {target_id}")
        )
    if target is not run and not scope.may_read(target):
        error = (
            f"target_run_id {target_id} belongs to another session and run tree; what a run may read is "
            "decided by Runtime(hooks=Hooks(access=...))"
        )
        return EffectOutcome.completed(tool_result(call_id, name, error=error))
    raw_path = payload.get("path") or payload.get("var_path")
    path = raw_path.strip() if isinstance(raw_path, str) and raw_path.strip() else "scratchpad"
    try:
        view = ensure_namespaces(dict(target.vars))  # a shallow copy: looking must not write
        value = resolve_vars_path(view, parse_vars_path(path))
    except ValueError as exc:
        return EffectOutcome.completed(tool_result(call_id, name, error=str(exc)))
    shown = _shown(path, value, keys_only=bool(payload.get("keys_only")))
    try:
        text = _text(shown)
    except (TypeError, ValueError):  # keys of several types, a value inside itself
        text = _text(json_safe(shown))
    limit = scope.config.max_vars_query_chars
    if len(text) > limit:
        error = (
            f"'{path}' is {len(text)} characters of JSON, more than {limit} "
            "(RuntimeConfig.max_vars_query_chars); ask for a longer path, or with keys_only"
        )
        return EffectOutcome.completed(tool_result(call_id, name, error=error))
    return EffectOutcome.completed(tool_result(call_id, name, output=text))


def _text(shown: Any) -> str:
    return json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False, default=str)


def _shown(path: str, value: Any, *, keys_only: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "path": path,
        "type": "dict" if isinstance(value, dict) else type(value).__name__,
    }
    if keys_only and isinstance(value, dict):
        shown["keys"] = sorted(str(key) for key in value)
    elif keys_only and isinstance(value, list):
        shown["length"] = len(value)
    else:
        shown["value"] = value
    return shown
