"""A runtime that a host wrote: ``run_store``, ``tick`` and ``resume`` are enough (`spec/02 §13.1`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import RunState, RunStatus, Runtime, Scheduler, WorkflowSpec
from tests.poll import eventually

from .conftest import Bench
from .flows import listener, question, timer


class OwnRuntime:
    """No clock, no ledger, no way to ask for a state."""

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self.run_store = inner.run_store

    def tick(self, *, workflow: WorkflowSpec, run_id: str, max_steps: int = 100) -> RunState:
        return self._inner.tick(workflow=workflow, run_id=run_id, max_steps=max_steps)

    def resume(
        self, *, workflow: WorkflowSpec, run_id: str, wait_key: str | None, payload: Any, max_steps: int = 100
    ) -> RunState:
        return self._inner.resume(
            workflow=workflow, run_id=run_id, wait_key=wait_key, payload=payload, max_steps=max_steps
        )


@pytest.fixture
def scheduler(bench: Bench) -> Scheduler:
    own: Any = OwnRuntime(bench.runtime)  # has no cancel_run either
    return Scheduler(runtime=own, registry=bench.registry, poll_interval_s=0.01)


def test_it_polls(bench: Bench, scheduler: Scheduler) -> None:
    run = bench.go(timer(bench.inside(60)))  # the bench's clock stands still long ago
    assert run.status is RunStatus.WAITING
    assert scheduler.poll_once() == 1
    assert bench.runtime.get_state(run.run_id).output == {"out": "ok"}
    assert scheduler.stats.errors == []


def test_it_polls_in_the_background(bench: Bench, scheduler: Scheduler) -> None:
    run = bench.go(timer(bench.inside(60)))
    scheduler.start()
    try:
        eventually(lambda: bench.runtime.get_state(run.run_id).status is RunStatus.COMPLETED)
    finally:
        scheduler.stop()


def test_host_calls(bench: Bench, scheduler: Scheduler) -> None:
    asked = bench.go(question())
    assert asked.waiting is not None
    assert asked.waiting.wait_key is not None
    answered = scheduler.resume_event(
        run_id=asked.run_id, wait_key=asked.waiting.wait_key, payload={"text": "yes"}
    )
    assert answered.status is RunStatus.COMPLETED
    with pytest.raises(KeyError, match="Unknown run_id: nope"):
        scheduler.resume_event(run_id="nope", wait_key="k", payload={})
    heard = bench.go(listener(), session_id="s")
    (state,) = scheduler.emit_event(name="go", payload={}, session_id="s")
    assert (state.run_id, state.status) == (heard.run_id, RunStatus.COMPLETED)
    assert scheduler.resume_subworkflow_parent(child_run_id="nope", child_output={}) is None
