"""Loops that ask the same again: the default, and the policy that tells visits apart (`spec/01 §19.9`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import EffectPolicy, PerVisitPolicy, RetryPolicy

from .flows import flow, loop
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL
LOOP = flow(a=loop(LLM, lambda visit: {"same": True}, times=3))


def numbering(kernel: Kernel, **options: Any) -> list[Any]:
    handler, calls = counting(lambda run, effect: EffectOutcome.completed({"n": len(calls)}))
    kernel.use(effect_handlers={LLM: handler}, **options)
    return calls


@pytest.mark.weakness("spec/01 §19.9")
def test_reuse_is_visible_in_the_trace(kernel: Kernel) -> None:
    calls = numbering(kernel)
    run_id = kernel.go(LOOP).run_id
    steps = kernel.runtime.get_node_trace(run_id, "a")["steps"]
    assert len(calls) == 1
    assert [step["reused_prior_result"] for step in steps] == [False, True, True]


@pytest.mark.weakness("spec/01 §19.9")
def test_each_visit_may_count(kernel: Kernel) -> None:
    calls = numbering(kernel, effect_policy=PerVisitPolicy())
    state = kernel.go(LOOP)
    assert (len(calls), state.vars["out"]) == (3, {"n": 3})
    keys = {record["idempotency_key"] for record in kernel.ledger(state.run_id)[:6]}
    assert len(keys) == 3
    assert all(len(key) == 32 for key in keys)


@pytest.mark.weakness("spec/01 §19.9")
def test_a_visit_that_runs_again_after_a_crash_is_the_same_visit(kernel: Kernel) -> None:
    class Killed(BaseException):
        pass

    calls = numbering(kernel, effect_policy=PerVisitPolicy())
    run_id = kernel.start(LOOP)
    kernel.tick(LOOP, run_id, max_steps=1)
    append = kernel.ledger_store.append

    def dying(record: Any) -> None:
        append(record)
        if record.status.value == "completed":
            raise Killed

    kernel.ledger_store.append = dying
    with pytest.raises(Killed):
        kernel.tick(LOOP, run_id)
    kernel.ledger_store.append = append
    is_recorded = kernel.kinds(run_id).count("completed llm_call") == 2  # else it went with its transaction
    kernel.runtime.pause_run(run_id)
    kernel.runtime.resume_run(run_id)
    assert kernel.tick(LOOP, run_id).status is RunStatus.COMPLETED
    assert len(calls) == (3 if is_recorded else 4)
    started = [r for r in kernel.ledger(run_id) if r["status"] == "started"]
    assert len({record["idempotency_key"] for record in started}) == 3


def test_the_inner_policy_decides_the_rest() -> None:
    policy: EffectPolicy = PerVisitPolicy(RetryPolicy(llm_max_attempts=7, backoff_base=2))
    effect: Any = type("E", (), {"type": LLM})()
    assert policy.max_attempts(effect) == 7
    assert policy.backoff_seconds(effect=effect, attempt=2) == 4
