"""Back-off as a durable wait, opt-in (`spec/01 §19`, row 13)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import PerVisitPolicy, RetryPolicy

from .flows import asks, done, flow
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL
WORKFLOW = flow(a=asks(LLM, {"prompt": "p"}), done=done)


@pytest.fixture
def backing(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> tuple[Kernel, list[Any], list[float]]:
    """A kernel that fails twice and parks for 10 s and more; its calls, and the seconds slept."""
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    answers = iter([EffectOutcome.failed("no 1"), EffectOutcome.failed("no 2")])
    handler, calls = counting(lambda run, effect: next(answers, EffectOutcome.completed({"ok": True})))
    kernel.use(
        effect_handlers={LLM: handler},
        effect_policy=RetryPolicy(llm_max_attempts=3, backoff_base=10, backoff_max=60),
        hooks=Hooks(durable_backoff_s=10),
    )
    return kernel, calls, naps


@pytest.mark.weakness("spec/01 §19.13")
def test_a_long_back_off_blocks_no_thread(backing: tuple[Kernel, list[Any], list[float]]) -> None:
    kernel, calls, naps = backing
    state = kernel.go(WORKFLOW, {"x": 1})
    assert state.status is RunStatus.WAITING
    assert state.waiting is not None
    assert state.waiting.details == {"kind": "retry_backoff", "attempt": 1}
    assert (len(calls), naps) == (1, [])
    assert kernel.tick(WORKFLOW, state.run_id).status is RunStatus.WAITING
    due = kernel.run_store.list_due_wait_until(now_iso=kernel.clock.iso(seconds=11))
    assert [run.run_id for run in due] == [state.run_id]  # a scheduler finds it like any timer
    kernel.clock.skip(seconds=11)
    assert kernel.tick(WORKFLOW, state.run_id).status is RunStatus.WAITING
    kernel.clock.skip(seconds=21)
    assert kernel.tick(WORKFLOW, state.run_id).output == {"out": {"ok": True}}
    records = kernel.ledger(state.run_id)
    assert [record["attempt"] for record in records[:6]] == [1, 1, 2, 2, 3, 3]
    assert len({record["idempotency_key"] for record in records[:6]}) == 1
    assert kernel.kinds(state.run_id)[6:] == ["completion", "status completed"]
    (entry,) = kernel.runtime.get_node_trace(state.run_id, "a")["steps"]
    assert entry["status"] == "completed"


@pytest.mark.weakness("spec/01 §19.13")
def test_attempts_count_on_in_another_process(backing: tuple[Kernel, list[Any], list[float]]) -> None:
    kernel, calls, _ = backing
    options = {"effect_policy": kernel.runtime.effect_policy, "hooks": kernel.runtime.hooks}
    run_id = kernel.go(WORKFLOW).run_id
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.failed("no")}, **options)
    kernel.clock.skip(seconds=11)
    kernel.tick(WORKFLOW, run_id)
    kernel.clock.skip(seconds=21)
    state = kernel.tick(WORKFLOW, run_id)
    assert state.error == "Effect failed after 3 attempts: no"
    assert len(calls) == 1


def test_a_paused_back_off_waits_and_a_cancelled_one_ends(
    backing: tuple[Kernel, list[Any], list[float]],
) -> None:
    kernel, calls, _ = backing
    run_id = kernel.go(WORKFLOW).run_id
    kernel.runtime.pause_run(run_id)
    kernel.clock.skip(seconds=100)
    kernel.tick(WORKFLOW, run_id)
    assert len(calls) == 1
    kernel.runtime.resume_run(run_id)
    kernel.tick(WORKFLOW, run_id)
    assert [r["attempt"] for r in kernel.ledger(run_id) if r["status"] == "failed"] == [1, 2]
    assert kernel.runtime.cancel_run(run_id).status is RunStatus.CANCELLED


def test_it_may_be_cut_short(backing: tuple[Kernel, list[Any], list[float]]) -> None:
    kernel, calls, _ = backing
    run_id = kernel.go(WORKFLOW).run_id
    state = kernel.resume(WORKFLOW, run_id, "now")
    assert (state.status, len(calls)) == (RunStatus.WAITING, 2)
    assert [r["attempt"] for r in kernel.ledger(run_id) if r["status"] == "failed"] == [1, 2]


def test_what_the_node_did_to_its_vars_is_not_kept_twice(
    backing: tuple[Kernel, list[Any], list[float]],
) -> None:
    kernel, _, _ = backing
    ask = asks(LLM, {"prompt": "p"})

    def counts(run: RunState, context: Any) -> StepPlan:
        run.vars["visits"] = run.vars.get("visits", 0) + 1
        return ask(run, context)

    workflow = flow(a=counts, done=done)
    run_id = kernel.go(workflow).run_id
    for _ in range(2):
        kernel.clock.skip(seconds=100)
        state = kernel.tick(workflow, run_id)
    assert (state.status, state.vars["visits"]) == (RunStatus.COMPLETED, 1)


def test_each_visit_counts_its_own_attempts(backing: tuple[Kernel, list[Any], list[float]]) -> None:
    """A key that names the visit stays the same over the wait."""
    kernel, _, _ = backing
    kernel.runtime.set_effect_policy(PerVisitPolicy(kernel.runtime.effect_policy))
    run_id = kernel.go(WORKFLOW).run_id
    for _ in range(2):
        kernel.clock.skip(seconds=100)
        state = kernel.tick(WORKFLOW, run_id)
    assert state.status is RunStatus.COMPLETED
    assert len({r["idempotency_key"] for r in kernel.ledger(run_id)[:6]}) == 1


def test_a_short_back_off_sleeps(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    naps: list[float] = []
    monkeypatch.setattr(time, "sleep", naps.append)
    kernel.use(
        effect_handlers={LLM: lambda run, effect: EffectOutcome.failed("no")},
        effect_policy=RetryPolicy(llm_max_attempts=2, backoff_base=1),
        hooks=Hooks(durable_backoff_s=10),
    )
    assert kernel.go(WORKFLOW).error == "Effect failed after 2 attempts: no"
    assert naps == [1.0]
