"""When tool results are kept as evidence (`spec/01 §11.3`); how, the recorder knows (`spec/03 §15`)."""

from __future__ import annotations

import logging
from typing import Any

from .environment import Environment
from .extensions import lent
from .hooks import EvidenceRecorder, Hooks
from .models import RunState, WaitState
from .tally import Tally

__all__ = ["capture_evidence", "recorder_for", "resumed_calls"]

logger = logging.getLogger(__name__)

_MAX_WARNINGS = 100


def recorder_for(hooks: Hooks, artifact_store: Any) -> EvidenceRecorder | None:
    """The host's recorder; else, with an artifact store, the package's own, if there is one."""
    if hooks.evidence is not None or artifact_store is None:
        return hooks.evidence
    make = lent("evidence_recorder")
    return None if make is None else make(artifact_store=artifact_store)


def capture_evidence(
    recorder: EvidenceRecorder,
    run: RunState,
    calls: object,
    result: object,
    env: Environment,
    tally: Tally,
) -> None:
    """Let the recorder see the results of ``calls``; it may rewrite them in place. Never fails the run: an
    error is logged, counted and noted in ``_runtime.evidence_warnings`` (`spec/01 §19.20`)."""
    results = result.get("results") if isinstance(result, dict) else None
    if not isinstance(calls, list) or not calls or not isinstance(results, list):
        return
    node_id = run.current_node
    try:
        recorder.record_tool_calls(run=run, node_id=node_id, tool_calls=calls, tool_results=results)
    except Exception as exc:
        logger.warning("evidence of run %s, node %s not recorded", run.run_id, node_id, exc_info=True)
        tally.add("evidence")
        _warn(run, {"ts": env.now_iso(), "node_id": node_id, "error": str(exc)})


def resumed_calls(wait: WaitState) -> Any:
    """The calls whose results a tool wait is resumed with, ``None`` for every other wait."""
    details = wait.details or {}
    return details.get("tool_calls_for_evidence") or details.get("tool_calls")


def _warn(run: RunState, warning: dict[str, Any]) -> None:
    runtime = run.vars.get("_runtime")
    if not isinstance(runtime, dict):
        runtime = run.vars["_runtime"] = {}
    warnings = runtime.get("evidence_warnings")
    if not isinstance(warnings, list):
        warnings = runtime["evidence_warnings"] = []
    warnings.append(warning)
    del warnings[:-_MAX_WARNINGS]
