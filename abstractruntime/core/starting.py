"""How a run begins: seeded variables at the entry node (`spec/01 §9.1`)."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from .config import RuntimeConfig
from .environment import Environment
from .models import RunState, RunStatus
from .spec import WorkflowSpec

__all__ = ["new_run"]


def new_run(
    workflow: WorkflowSpec,
    *,
    config: RuntimeConfig,
    env: Environment,
    vars: dict[str, Any] | None = None,
    actor_id: str | None = None,
    session_id: str | None = None,
    parent_run_id: str | None = None,
    run_id: str | None = None,
) -> RunState:
    """A RUNNING run that has not taken a step; ``vars`` is copied deeply, the caller's stay his."""
    now = env.now_iso()
    return RunState(
        run_id=run_id or env.new_id(),
        workflow_id=workflow.workflow_id,
        status=RunStatus.RUNNING,
        current_node=workflow.entry_node,
        vars=_seeded(vars, config),
        created_at=now,
        updated_at=now,
        actor_id=actor_id,
        session_id=session_id,
        parent_run_id=parent_run_id,
    )


def _seeded(given: dict[str, Any] | None, config: RuntimeConfig) -> dict[str, Any]:
    vars = deepcopy(given) if given else {}
    if "_limits" not in vars:
        vars["_limits"] = config.to_limits_dict()
    runtime = vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = vars["_runtime"] = {}
    for name in ("provider", "model"):
        value = getattr(config, name)
        if isinstance(value, str) and value.strip():
            runtime.setdefault(name, value.strip())
    support = config.model_capabilities.get("tool_support") if config.model_capabilities else None
    if isinstance(support, str) and support.strip():
        runtime.setdefault("tool_support", support.strip())
        runtime.setdefault("supports_native_tools", support.strip() == "native")
    return vars
