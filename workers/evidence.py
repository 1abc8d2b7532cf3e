"""Evidence of tool calls on a fleet, kept where the deployment's artifacts are (`spec/03 §15`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.effect_step import EffectStep
from abstractruntime.core.environment import Environment
from abstractruntime.core.evidence import (
    is_tool_wait,
    note_failure,
    outcome_kept,
    package_recorder,
    payload_kept,
)
from abstractruntime.core.hooks import EvidenceRecorder
from abstractruntime.core.models import EffectType, RunState
from abstractruntime.core.outcome import EffectOutcome

from . import metrics
from .artifacts import Artifacts

__all__ = ["Evidence"]


class Evidence:
    """Keeps what tools found. The artifacts are opened when there is something to keep.

    To be called outside of transactions: over one database the artifact store writes in its own.
    """

    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    def of_outcome(
        self,
        run: RunState,
        step: EffectStep,
        outcome: EffectOutcome,
        env: Environment,
        *,
        reused: bool = False,
    ) -> EffectOutcome:
        """See `outcome_kept`. The run's variables name the evidence afterwards."""
        if step.effect.type is not EffectType.TOOL_CALLS or outcome.status != "completed":
            return outcome
        return outcome_kept(self._recorder(run, env), run, step, outcome, env, _FaultMetrics(), reused=reused)

    def of_payload(self, run: RunState, payload: Any, env: Environment) -> Any:
        """See `payload_kept`. The run's variables name the evidence afterwards."""
        if run.waiting is None or not is_tool_wait(run.waiting):
            return payload
        return payload_kept(self._recorder(run, env), run, payload, env, _FaultMetrics())

    def _recorder(self, run: RunState, env: Environment) -> EvidenceRecorder | None:
        """An outcome that was obtained is not thrown away because the artifacts can't be reached now."""
        try:
            app, store = self._artifacts.app, self._artifacts.open()
            return package_recorder(store) if app is None or app.evidence is None else app.evidence(store)
        except Exception as exc:
            note_failure(run, exc, env, _FaultMetrics())
            return None


class _FaultMetrics:
    def add(self, name: str) -> None:
        metrics.count("fault", kind=name)
