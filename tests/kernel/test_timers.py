"""WAIT_UNTIL and what wakes it (`spec/01 §12.2`, §13.2, §19.11, §19.12)."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunState, RunStatus, StepPlan, WaitReason
from abstractruntime.core.spec import RunContext, WorkflowSpec

from .flows import asks, done, flow
from .kernel import Kernel

WAIT = EffectType.WAIT_UNTIL


def until(text: Any, then: str | None = "done") -> WorkflowSpec:
    return flow(a=asks(WAIT, {"until": text}, then=then), done=done)


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:04:00Z",
        "2026-01-02T03:04:00+00:00",
        "2026-01-02T05:04:00+02:00",
        "2026-01-01T17:04:00-10:00",
        "2026-01-02T03:04:00",
        "2026-01-02",
    ],
)
def test_time_that_is_past_completes_at_once(kernel: Kernel, text: str) -> None:
    assert kernel.go(until(text)).output == {"out": {"until": text, "ready": True}}


@pytest.mark.weakness("spec/01 §19.11")
@pytest.mark.weakness("spec/02 S-9")
@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02T03:05:00Z",
        "2026-01-02T03:05:00+00:00",
        "2026-01-02T05:05:00+02:00",
        "2026-01-01T17:05:00-10:00",
        "2026-01-02T03:05:00",
    ],
)
def test_time_to_come_is_stored_in_utc_and_waited_for(kernel: Kernel, text: str) -> None:
    workflow = until(text)
    state = kernel.go(workflow)
    assert state.waiting is not None
    assert (state.waiting.reason, state.waiting.wait_key) == (WaitReason.UNTIL, None)
    stored = text if text.endswith("+00:00") else "2026-01-02T03:05:00.000000+00:00"
    assert state.waiting.until == stored
    kernel.clock.skip(seconds=50)
    assert kernel.tick(workflow, state.run_id).status is RunStatus.WAITING
    kernel.clock.skip(seconds=10)
    assert kernel.tick(workflow, state.run_id).output == {"out": {"until": stored, "ready": True}}
    assert kernel.kinds(state.run_id)[2] == "resume"


@pytest.mark.parametrize("text", [None, "", 0])
def test_time_is_required(kernel: Kernel, text: Any) -> None:
    error = kernel.go(until(text)).error
    assert error == "Effect failed after 1 attempts: wait_until requires payload.until (ISO timestamp)"


@pytest.mark.weakness("spec/01 §19.11")
@pytest.mark.parametrize("text", ["garbage", "2026-13-01T00:00:00Z", 5])
def test_time_that_cant_be_read_fails_instead_of_never_firing(kernel: Kernel, text: Any) -> None:
    error = kernel.go(until(text)).error or ""
    assert error.startswith(
        "Effect failed after 1 attempts: wait_until requires payload.until (ISO timestamp)"
    )


def test_terminal_timer_completes_the_run(kernel: Kernel) -> None:
    workflow = until(kernel.clock.iso(hours=1), then=None)
    state = kernel.go(workflow)
    kernel.clock.skip(hours=1)
    ended = kernel.tick(workflow, state.run_id, max_steps=0)
    assert state.waiting is not None
    result = {"until": state.waiting.until, "ready": True}
    assert (ended.status, ended.output) == (RunStatus.COMPLETED, {"success": True, "result": result})
    assert kernel.kinds(state.run_id)[2:] == ["resume", "completion via resume", "status completed"]


def test_a_node_that_waits_relative_to_now_does_not_wait_for_ever(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        return asks(WAIT, {"until": kernel.clock.iso(hours=1)}, then=None)(run, context)

    workflow = flow(a=node)
    run_id = kernel.go(workflow).run_id
    kernel.clock.skip(hours=2)
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED


def test_early_resume_with_any_key(kernel: Kernel) -> None:
    workflow = until(kernel.clock.iso(hours=1))
    run_id = kernel.go(workflow).run_id
    assert kernel.resume(workflow, run_id, "early", wait_key="whatever").output == {"out": "early"}


def test_paused_timer_does_not_fire(kernel: Kernel) -> None:
    workflow = until(kernel.clock.iso(hours=1))
    run_id = kernel.go(workflow).run_id
    kernel.runtime.pause_run(run_id)
    kernel.clock.skip(hours=2)
    assert kernel.tick(workflow, run_id).status is RunStatus.WAITING
    kernel.runtime.resume_run(run_id)
    assert kernel.tick(workflow, run_id).status is RunStatus.COMPLETED


def test_stored_time_that_cant_be_read_fails_the_run_when_it_is_looked_at(kernel: Kernel) -> None:
    """The published package accepted such times and waited for ever."""
    workflow = until(kernel.clock.iso(hours=1))
    state = kernel.go(workflow)
    assert state.waiting is not None
    state.waiting.until = "garbage"
    kernel.run_store.save(state)
    ended = kernel.tick(workflow, state.run_id)
    assert ended.status is RunStatus.FAILED
    assert "garbage" in (ended.error or "")
    assert kernel.kinds(state.run_id)[2:] == ["failed resume", "status failed"]


@pytest.mark.weakness("spec/01 §19.12")
def test_one_of_many_wakes_a_timer(kernel: Kernel) -> None:
    runs: list[str] = []

    def node(run: RunState, context: RunContext) -> StepPlan:
        runs.append(run.run_id)
        return done(run, context)

    workflow = flow(a=asks(WAIT, {"until": kernel.clock.iso(hours=1)}, then="b"), b=node)
    run_id = kernel.go(workflow).run_id
    kernel.clock.skip(hours=2)
    gate = threading.Barrier(8)

    def drive() -> None:
        gate.wait()
        kernel.tick(workflow, run_id)

    threads = [threading.Thread(target=drive) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert runs == [run_id]
    assert kernel.kinds(run_id).count("resume") == 1
