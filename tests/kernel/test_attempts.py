"""Retries and backoff (`spec/01 §5.6`, §19.13)."""

from __future__ import annotations

import time
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import DefaultEffectPolicy, RetryPolicy

from .flows import asks, done, flow
from .kernel import Kernel, counting

LLM = EffectType.LLM_CALL
WORKFLOW = flow(a=asks(LLM, {"prompt": "p"}), done=done)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds slept, instead of sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def failing(times: int) -> Any:
    answers = iter([EffectOutcome.failed(f"no {n}") for n in range(1, times + 1)])
    return lambda run, effect: next(answers, EffectOutcome.completed({"ok": True}))


def test_default_is_one_attempt_and_no_sleep(kernel: Kernel, naps: list[float]) -> None:
    state = kernel.use(effect_handlers={LLM: failing(1)}).go(WORKFLOW)
    assert (state.error, naps) == ("Effect failed after 1 attempts: no 1", [])


def test_success_after_failures(kernel: Kernel, naps: list[float]) -> None:
    handler, calls = counting(failing(2))
    kernel.use(effect_handlers={LLM: handler}, effect_policy=RetryPolicy(llm_max_attempts=3))
    state = kernel.go(WORKFLOW)
    assert state.output == {"out": {"ok": True}}
    assert (len(calls), naps) == (3, [1.0, 2.0])
    records = kernel.ledger(state.run_id)[:6]
    assert [record["attempt"] for record in records] == [1, 1, 2, 2, 3, 3]
    statuses = [record["status"] for record in records]
    assert statuses == ["started", "failed", "started", "failed", "started", "completed"]
    assert len({record["step_id"] for record in records}) == 3
    assert len({record["idempotency_key"] for record in records}) == 1
    assert [record["error"] for record in records[1::2]] == ["no 1", "no 2", None]


def test_no_sleep_after_the_last_failure(kernel: Kernel, naps: list[float]) -> None:
    policy = RetryPolicy(llm_max_attempts=4, backoff_base=2, backoff_max=5)
    state = kernel.use(effect_handlers={LLM: failing(9)}, effect_policy=policy).go(WORKFLOW)
    assert state.error == "Effect failed after 4 attempts: no 4"
    assert naps == [2.0, 4.0, 5.0]


def test_no_sleep_without_backoff(kernel: Kernel, naps: list[float]) -> None:
    policy = RetryPolicy(llm_max_attempts=3, backoff_base=0)
    kernel.use(effect_handlers={LLM: failing(2)}, effect_policy=policy).go(WORKFLOW)
    assert naps == []


def test_zero_attempts_count_as_one(kernel: Kernel) -> None:
    policy = DefaultEffectPolicy(default_max_attempts=0)
    state = kernel.use(effect_handlers={LLM: failing(1)}, effect_policy=policy).go(WORKFLOW)
    assert state.error == "Effect failed after 1 attempts: no 1"


@pytest.mark.weakness("spec/01 §19.13")
@pytest.mark.parametrize("command", ["pause", "cancel"])
@pytest.mark.parametrize("when", ["before", "during"])
def test_no_further_attempt_of_a_stopped_run(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, command: str, when: str
) -> None:
    naps = []

    def stop(run_id: str) -> None:
        if command == "pause":
            kernel.runtime.pause_run(run_id)
        else:
            kernel.runtime.cancel_run(run_id)

    def handler(run: Any, effect: Any) -> EffectOutcome:
        calls.append(run.run_id)
        if when == "before":
            stop(run.run_id)
        return EffectOutcome.failed("no")

    def sleep(seconds: float) -> None:
        naps.append(seconds)
        stop(calls[0])

    calls: list[str] = []
    monkeypatch.setattr(time, "sleep", sleep)
    kernel.use(effect_handlers={LLM: handler}, effect_policy=RetryPolicy(llm_max_attempts=3))
    state = kernel.go(WORKFLOW)
    assert len(calls) == 1
    assert len(naps) == (1 if when == "during" else 0)
    assert state.status is (RunStatus.WAITING if command == "pause" else RunStatus.CANCELLED)


def test_attempts_before_a_pause_count_after_it(kernel: Kernel, naps: list[float]) -> None:
    def handler(run: Any, effect: Any) -> EffectOutcome:
        calls.append(1)
        if len(calls) == 1:
            kernel.runtime.pause_run(run.run_id)
        return EffectOutcome.failed(f"no {len(calls)}")

    calls: list[int] = []
    kernel.use(effect_handlers={LLM: handler}, effect_policy=RetryPolicy(llm_max_attempts=2))
    run_id = kernel.go(WORKFLOW).run_id
    kernel.runtime.resume_run(run_id)
    assert kernel.tick(WORKFLOW, run_id).error == "Effect failed after 2 attempts: no 2"
    assert [r["attempt"] for r in kernel.ledger(run_id) if r["status"] == "failed"] == [1, 2]


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.weakness("spec/01 §19.13")
def test_attempts_of_a_lost_process_count(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(seconds: float) -> None:
        raise Killed

    handler, calls = counting(failing(9))
    policy = RetryPolicy(llm_max_attempts=3)
    kernel.use(effect_handlers={LLM: handler}, effect_policy=policy)
    monkeypatch.setattr(time, "sleep", die)
    run_id = kernel.start(WORKFLOW)
    with pytest.raises(Killed):
        kernel.tick(WORKFLOW, run_id)
    with pytest.raises(Killed):
        kernel.tick(WORKFLOW, run_id)
    assert kernel.tick(WORKFLOW, run_id).error == "Effect failed after 3 attempts: no 3"
    assert len(calls) == 3


def test_a_last_attempt_that_was_recorded_is_not_repeated(kernel: Kernel, naps: list[float]) -> None:
    handler, calls = counting(failing(9))
    kernel.use(effect_handlers={LLM: handler}, effect_policy=RetryPolicy(llm_max_attempts=2))
    run_id = kernel.start(WORKFLOW)
    save = kernel.run_store.save

    def die(run: Any) -> None:
        raise Killed

    kernel.run_store.save = die
    with pytest.raises(Killed):
        kernel.tick(WORKFLOW, run_id)
    kernel.run_store.save = save
    assert kernel.tick(WORKFLOW, run_id).error == "Effect failed after 2 attempts: no 2"
    assert len(calls) == 2


def test_a_retried_visit_later_in_the_run_begins_at_attempt_one(kernel: Kernel, naps: list[float]) -> None:
    answers = iter([EffectOutcome.failed("no"), EffectOutcome.completed({}), EffectOutcome.failed("no")])
    kernel.use(
        effect_handlers={LLM: lambda run, effect: next(answers, EffectOutcome.completed({}))},
        effect_policy=RetryPolicy(llm_max_attempts=2),
    )
    workflow = flow(a=asks(LLM, {"n": 1}, then="b"), b=asks(LLM, {"n": 2}), done=done)
    run_id = kernel.start(workflow)
    while kernel.tick(workflow, run_id, max_steps=1).status is RunStatus.RUNNING:
        pass
    attempts = [
        r["attempt"] for r in kernel.ledger(run_id) if r["effect"] and r["effect"]["type"] == "llm_call"
    ]
    assert attempts == [1, 1, 2, 2, 1, 1, 2, 2]
