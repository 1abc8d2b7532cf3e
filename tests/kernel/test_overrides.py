"""Stores whose methods a host has written over: a shortcut of the store must not pass them by."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest

from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import compute_idempotency_key
from abstractruntime.core.runtime import Runtime
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


class InstanceProxy:
    """Hands on what it lacks; its ``save`` is on the instance."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.saved: list[str] = []
        self.save = lambda run: (self.saved.append(run.current_node), inner.save(run))[1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class ClassProxy:
    """Hands on what it lacks; its ``save`` is a method."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.saved: list[str] = []

    def save(self, run: RunState) -> None:
        self.saved.append(run.current_node)
        self.inner.save(run)

    def load(self, run_id: str) -> RunState | None:
        return self.inner.load(run_id)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@pytest.mark.parametrize("proxy", [InstanceProxy, ClassProxy])
def test_a_proxy_that_hands_on_what_it_lacks_sees_every_save(stores: tuple[Any, Any], proxy: Any) -> None:
    store = proxy(stores[0])
    assert _completes(store, stores[1])
    assert store.saved == ["a", "done", "done"]


@pytest.mark.parametrize("wraps", [True, False])
def test_a_save_or_append_put_into_the_class_sees_every_write(
    stores: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, wraps: bool
) -> None:
    """As tests do to count the writes, before the runtime is made."""
    written: list[str] = []

    def watched(kind: type, name: str, text: Callable[[Any], str]) -> None:
        plain = getattr(kind, name)

        def watching(store: Any, given: Any) -> None:
            written.append(text(given))
            plain(store, given)

        monkeypatch.setattr(kind, name, functools.wraps(plain)(watching) if wraps else watching)

    runs, ledger = stores
    watched(type(runs), "save", lambda run: f"S({run.status.value}, {run.current_node})")
    watched(type(ledger), "append", lambda record: f"L({record.status.value})")
    assert _completes(runs, ledger)
    assert written == [
        "S(running, a)",
        "L(started)",
        "L(completed)",
        "S(running, done)",
        "S(completed, done)",
        "L(completed)",
        "L(completed)",
    ]


def _completes(runs: Any, ledger: Any) -> bool:
    kernel = Kernel(runs, ledger)
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({})})
    return kernel.go(WORKFLOW).status is RunStatus.COMPLETED


@pytest.mark.parametrize("kind", [Mock, MagicMock])
def test_a_mock_can_stand_for_a_store(kind: Any) -> None:
    runs = InMemoryRunStore()
    store = kind(spec=["save", "load"])
    store.save.side_effect, store.load.side_effect = runs.save, runs.load
    assert _completes(store, InMemoryLedgerStore())
    assert store.save.call_count == 3
    Runtime(run_store=kind(), ledger_store=kind())
