"""What a run's own variables say about its LLM calls."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import RunState

__all__ = ["limits_of", "own_runtime", "runtime_of"]


def runtime_of(run: RunState) -> dict[str, Any]:
    """``vars._runtime``, or an empty object; to read only."""
    return _object(run, "_runtime")


def own_runtime(run: RunState) -> dict[str, Any]:
    """``vars._runtime`` to write into; made if it is no object. Nothing else in ``vars`` is touched."""
    if not isinstance(run.vars.get("_runtime"), dict):
        run.vars["_runtime"] = {}
    made: dict[str, Any] = run.vars["_runtime"]
    return made


def limits_of(run: RunState) -> dict[str, Any]:
    """``vars._limits``, or an empty object; to read only."""
    return _object(run, "_limits")


def _object(run: RunState, name: str) -> dict[str, Any]:
    value = run.vars.get(name) if isinstance(run.vars, dict) else None
    return value if isinstance(value, dict) else {}
