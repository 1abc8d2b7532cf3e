"""When tool results are kept as evidence (`spec/01 §11.3`); how, the recorder knows (`spec/03 §15`)."""

from __future__ import annotations

import logging
from copy import deepcopy
from itertools import zip_longest
from typing import Any, Protocol

from .copies import copied
from .effect_step import EffectStep
from .environment import Environment
from .extensions import lent
from .hooks import EvidenceRecorder, Hooks
from .models import EffectType, RunState, WaitState
from .outcome import EffectOutcome
from .redaction import Redactor
from .resume import stored_payload
from .tool_results import not_allowed

__all__ = [
    "FaultCount",
    "is_tool_wait",
    "note_failure",
    "outcome_kept",
    "package_recorder",
    "payload_kept",
    "recorder_for",
]

logger = logging.getLogger(__name__)

_MAX_WARNINGS = 100


class FaultCount(Protocol):
    """Counts what went wrong without failing a run."""

    def add(self, name: str) -> None: ...


def recorder_for(hooks: Hooks, artifact_store: Any) -> EvidenceRecorder | None:
    """The host's recorder; else, with an artifact store, the package's own."""
    if hooks.evidence is not None or artifact_store is None:
        return hooks.evidence
    return package_recorder(artifact_store, hooks.redactor)


def package_recorder(artifact_store: Any, redactor: Redactor | None = None) -> EvidenceRecorder | None:
    """The package's recorder over this store; ``None`` where nobody lends one."""
    make = lent("evidence_recorder")
    if make is None:
        return None
    recorder: EvidenceRecorder = (
        make(artifact_store=artifact_store)
        if redactor is None
        else make(artifact_store=artifact_store, redactor=redactor)
    )
    return recorder


def outcome_kept(
    recorder: EvidenceRecorder | None,
    run: RunState,
    step: EffectStep,
    outcome: EffectOutcome,
    env: Environment,
    faults: FaultCount,
    *,
    reused: bool = False,
) -> EffectOutcome:
    """The outcome of tool calls as it may be recorded: what the recorder took out of it is evidence now.

    Both drivers call it before they make the outcome's ledger record, so that the ledger is bounded by the
    same references as the checkpoint, and names the evidence (`spec/03 §18.3`, §18.20). The handler's own
    object stays as it is.

    Args:
        reused: the result comes from the ledger; only a recorder that is idempotent sees it.
    """
    if recorder is None or step.effect.type is not EffectType.TOOL_CALLS or outcome.status != "completed":
        return outcome
    if reused and not getattr(recorder, "is_idempotent", False):
        return outcome
    payload = step.effect.payload
    calls = payload.get("tool_calls") if isinstance(payload, dict) else None
    if not _is_worth_it(recorder, calls, outcome.result):
        return outcome
    own = EffectOutcome.completed(copied(outcome.result))
    _capture(recorder, run, _without_refused(calls, own.result), own.result, env, faults)
    return own


def _without_refused(calls: Any, result: Any) -> list[Any]:
    """The calls without the arguments of those that the node's allowlist has refused (`spec/04 §7.7`)."""
    answers = (result or {}).get("results") or []
    return [
        {**call, "arguments": {}} if _is_refused(call, answer) else call
        for call, answer in zip_longest(calls, answers[: len(calls)])
    ]


def _is_refused(call: Any, answer: Any) -> bool:
    if not isinstance(call, dict) or not isinstance(answer, dict):
        return False
    return answer.get("error") == not_allowed(str(call.get("name")).strip())


def payload_kept(
    recorder: EvidenceRecorder | None, run: RunState, payload: Any, env: Environment, faults: FaultCount
) -> Any:
    """What a waiting run is resumed with, as it is stored; of tool results without what is evidence now.

    ``payload`` may be changed. Before the resume record is made (`spec/01 §11.3`).
    """
    wait = run.waiting
    if recorder is None or wait is None or not is_tool_wait(wait):
        return payload
    stored = stored_payload(wait, payload)
    _capture(recorder, run, _resumed_calls(wait), stored, env, faults)
    return stored


def is_tool_wait(wait: WaitState) -> bool:
    """Whether the run waits for the results of tool calls and will keep them."""
    calls = _resumed_calls(wait)
    return bool(wait.result_key) and isinstance(calls, list) and bool(calls)


def _is_worth_it(recorder: EvidenceRecorder, calls: object, result: object) -> bool:
    """Whether there are results, of tools the recorder cares for if it says which (their names may be in the
    calls or in the results)."""
    results = result.get("results") if isinstance(result, dict) else None
    if not isinstance(calls, list) or not calls or not isinstance(results, list):
        return False
    wanted = getattr(recorder, "tool_names", None)
    if wanted is None:
        return True
    names = (each.get("name") for each in (*calls, *results) if isinstance(each, dict))
    return any(isinstance(name, str) and name.strip() in wanted for name in names)


def _capture(
    recorder: EvidenceRecorder,
    run: RunState,
    calls: object,
    result: object,
    env: Environment,
    faults: FaultCount,
) -> None:
    """Let the recorder see the results of ``calls``; it may rewrite them in place. Never fails the run: an
    error is logged, counted and noted in ``_runtime.evidence_warnings`` (`spec/01 §19.20`)."""
    results = result.get("results") if isinstance(result, dict) else None
    if not isinstance(calls, list) or not calls or not isinstance(results, list):
        return
    try:
        recorder.record_tool_calls(
            run=run, node_id=run.current_node, tool_calls=deepcopy(calls), tool_results=results
        )
    except Exception as exc:
        note_failure(run, exc, env, faults)


def note_failure(run: RunState, problem: Exception, env: Environment, faults: FaultCount) -> None:
    """Evidence could not be kept: in the log, in the count, and in ``_runtime.evidence_warnings``."""
    node_id = run.current_node
    logger.warning("evidence of run %s, node %s not recorded", run.run_id, node_id, exc_info=problem)
    faults.add("evidence")
    _warn(run, {"ts": env.now_iso(), "node_id": node_id, "error": str(problem)})


def _resumed_calls(wait: WaitState) -> Any:
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
