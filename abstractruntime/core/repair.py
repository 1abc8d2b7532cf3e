"""Closing the ledger of a run that ended without its last words (`spec/01 §19.5`, `spec/02 §9`).

A store without transactions writes the terminal checkpoint, then the completion record, then the status
event. A process that dies in between leaves a run that will never progress again, so nothing else would
append them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import records
from .environment import Environment
from .models import RunState, RunStatus, StepRecord, WaitReason, WaitState

__all__ = ["is_status_event", "missing_closing", "was_left_over"]

_UNDONE = frozenset({"resume", "pause", "unpause"})
"""Records that precede their checkpoint; the run can't be in the state before it with one of them last."""


def missing_closing(run: RunState, tail: Sequence[Mapping[str, Any]], env: Environment) -> list[StepRecord]:
    """The closing records that a terminal run lacks, in order; none for any other run.

    Args:
        tail: the run's last ledger records (some effects may have ended after the run did).
    """
    if not run.is_terminal or any(is_status_event(record) for record in tail):
        return []
    missing = [records.status_event(run, env)]
    if run.status is RunStatus.COMPLETED and not any(_is_completion(record) for record in tail):
        missing.insert(0, _completion(run, tail, env))
    return missing


def was_left_over(last: Mapping[str, Any] | None, record: StepRecord) -> bool:
    """Whether ``last``, the run's last record, is what ``record`` is about to say: then the checkpoint that
    belongs to it was never written, and now it is."""
    effect = record.effect
    return (
        last is not None and effect is not None and effect["type"] in _UNDONE and last.get("effect") == effect
    )


def is_status_event(record: Mapping[str, Any]) -> bool:
    """Whether this is the last record of a run that has ended."""
    return str(record.get("idempotency_key") or "").startswith("system:terminal_status:")


def _is_completion(record: Mapping[str, Any]) -> bool:
    result = record.get("result")
    return record.get("effect") is None and isinstance(result, dict) and result.get("completed") is True


def _completion(run: RunState, tail: Sequence[Mapping[str, Any]], env: Environment) -> StepRecord:
    effect = (tail[-1].get("effect") or {}) if tail else {}
    if effect.get("type") != "resume":
        return records.completion(run, env)
    waited = effect["payload"]
    return records.completion_by_resume(
        run, WaitState(WaitReason(waited["wait_reason"]), waited["wait_key"]), env
    )
