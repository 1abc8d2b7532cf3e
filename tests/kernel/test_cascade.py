"""Control of a run and everything below it, and handlers that notice (`spec/01 §19`, row 19)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import EffectType, RunState, RunStatus
from abstractruntime.core.outcome import EffectOutcome

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import BareRunStore, PlainLedgerStore

LEAF = flow("leaf", a=asks(EffectType.WAIT_EVENT, {"name": "e"}), done=done)
MIDDLE = flow("middle", a=asks(EffectType.START_SUBWORKFLOW, {"workflow_id": "leaf"}), done=done)
ROOT = flow("root", a=asks(EffectType.START_SUBWORKFLOW, {"workflow_id": "middle"}), done=done)


@pytest.fixture
def tree(kernel: Kernel) -> list[str]:
    """Root, child, grandchild: all waiting."""
    kernel.know(LEAF, MIDDLE)
    root = kernel.go(ROOT, session_id="s").run_id
    (child,) = kernel.run_store.list_children(parent_run_id=root)
    (grandchild,) = kernel.run_store.list_children(parent_run_id=child.run_id)
    return [root, child.run_id, grandchild.run_id]


@pytest.mark.weakness("spec/01 §19.19")
def test_cancel_of_a_tree(kernel: Kernel, tree: list[str]) -> None:
    assert kernel.runtime.cancel_run(tree[0], reason="enough", cascade=True).run_id == tree[0]
    for run_id in tree:
        state = kernel.state(run_id)
        assert (state.status, state.error) == (RunStatus.CANCELLED, "enough")
        assert kernel.kinds(run_id)[-1] == "status cancelled"


@pytest.mark.weakness("spec/01 §19.19")
def test_pause_and_unpause_of_a_tree(kernel: Kernel, tree: list[str]) -> None:
    kernel.runtime.pause_run(tree[0], cascade=True)
    for run_id in tree:
        assert kernel.state(run_id).vars["_runtime"]["control"]["paused"] is True
    kernel.runtime.resume_run(tree[0], cascade=True)
    for run_id in tree:
        assert "paused" not in kernel.state(run_id).vars["_runtime"]["control"]
        assert kernel.state(run_id).status is RunStatus.WAITING


def test_without_cascade_children_go_on(kernel: Kernel, tree: list[str]) -> None:
    kernel.runtime.cancel_run(tree[0])
    assert [kernel.state(run_id).status for run_id in tree[1:]] == [RunStatus.WAITING] * 2


def test_a_run_that_has_ended_still_has_children(kernel: Kernel, tree: list[str]) -> None:
    kernel.runtime.cancel_run(tree[1])
    kernel.runtime.cancel_run(tree[0], cascade=True)
    assert kernel.state(tree[2]).status is RunStatus.CANCELLED


def test_a_store_that_knows_no_children_says_so() -> None:
    kernel = Kernel(BareRunStore(), PlainLedgerStore())
    run_id = kernel.start(flow(a=asks(EffectType.ASK_USER, {"prompt": "?"})))
    with pytest.raises(InvalidInputError, match="BareRunStore has none"):
        kernel.runtime.cancel_run(run_id, cascade=True)


@pytest.mark.weakness("spec/01 §19.19")
def test_a_handler_sees_that_its_run_was_cancelled(kernel: Kernel) -> None:
    seen: list[Any] = []

    def handler(run: RunState, effect: Any) -> EffectOutcome:
        cancelled: Callable[[], bool] = current_effect().cancelled
        seen.append(cancelled())
        kernel.runtime.cancel_run(run.run_id)
        seen.append(cancelled())
        return EffectOutcome.completed({})

    kernel.use(effect_handlers={EffectType.LLM_CALL: handler})
    assert kernel.go(flow(a=asks(EffectType.LLM_CALL, {}), done=done)).status is RunStatus.CANCELLED
    assert seen == [False, True]
