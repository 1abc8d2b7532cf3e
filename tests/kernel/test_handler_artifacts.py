"""A handler keeps large payloads in the runtime's artifact store."""

from __future__ import annotations

import pytest

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.artifacts import InMemoryArtifactStore

from .flows import asks, done, flow
from .kernel import Kernel

LLM = EffectType.LLM_CALL


def _keep(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"id": current_effect().artifacts.store_text("long").artifact_id})


def test_handler_finds_the_runtimes_artifacts(kernel: Kernel) -> None:
    artifacts = InMemoryArtifactStore()
    state = kernel.use(effect_handlers={LLM: _keep}, artifact_store=artifacts).go(
        flow(a=asks(LLM, key="kept"), done=done)
    )
    assert artifacts.load_text(state.vars["kept"]["id"]) == "long"


def test_handler_without_artifacts_is_told_so(kernel: Kernel) -> None:
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        with pytest.raises(RuntimeError, match="artifact store"):
            _ = current_effect().artifacts
        return EffectOutcome.completed({})

    kernel.use(effect_handlers={LLM: handler}).go(flow(a=asks(LLM), done=done))
