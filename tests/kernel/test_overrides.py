"""Stores whose methods a host has written over: a shortcut of the store must not pass them by."""

from __future__ import annotations

from typing import Any

from abstractruntime.core.models import Effect, EffectType, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import compute_idempotency_key
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .flows import asks, done, flow
from .kernel import Kernel

LLM = EffectType.LLM_CALL
WORKFLOW = flow(a=asks(LLM, {"prompt": "?"}), done=done)


def test_a_list_of_the_host_is_where_prior_results_are_looked_up(kernel: Kernel) -> None:
    run_id = kernel.start(WORKFLOW)
    effect = Effect(LLM, {"prompt": "?"})
    prior = {
        "idempotency_key": compute_idempotency_key(run_id=run_id, node_id="a", effect=effect),
        "status": "completed",
        "result": {"from": "elsewhere"},
    }
    own_list = kernel.ledger_store.list
    kernel.ledger_store.list = lambda run_id: [prior, *own_list(run_id)]
    assert kernel.tick(WORKFLOW, run_id).output == {"out": {"from": "elsewhere"}}


def test_a_wrapper_that_hands_on_what_it_lacks_sees_every_save() -> None:
    class Wrapper:
        def __init__(self, inner: Any) -> None:
            self.inner = inner
            self.saved: list[str] = []
            self.save = lambda run: (self.saved.append(run.current_node), inner.save(run))[1]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    store = Wrapper(InMemoryRunStore())
    kernel = Kernel(store, InMemoryLedgerStore())
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({})})
    assert kernel.go(WORKFLOW).status is RunStatus.COMPLETED
    assert store.saved == ["a", "done", "done"]
