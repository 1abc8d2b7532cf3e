"""What a poll finds, drives and counts (`spec/02 §13.3`, §15.3)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from abstractruntime import (
    EffectType,
    RunState,
    RunStatus,
    Runtime,
    Scheduler,
    StepPlan,
    WorkflowRegistry,
    WorkflowSpec,
)
from abstractruntime.core.spec import RunContext
from abstractruntime.core.times import to_iso
from tests.kernel.flows import asks, done, flow

from .conftest import Bench
from .flows import listener, long_one, timer


def test_a_run_goes_on_when_its_time_has_come(bench: Bench) -> None:
    seen: list[tuple[int, RunState]] = []
    scheduler = bench.scheduler(on_run_resumed=lambda run: seen.append((scheduler.stats.runs_resumed, run)))
    run = bench.go(timer(bench.inside(60)))
    assert scheduler.poll_once() == 0
    bench.clock.skip(61)
    assert scheduler.poll_once() == 1
    assert scheduler.poll_once() == 0
    assert bench.runtime.get_state(run.run_id).output == {"out": "ok"}
    assert [(count, state.run_id, state.status) for count, state in seen] == [
        (1, run.run_id, RunStatus.COMPLETED)
    ]
    stats = scheduler.stats
    assert (stats.runs_resumed, stats.runs_failed, stats.poll_cycles, stats.errors) == (1, 0, 3, [])
    assert stats.last_poll_at == to_iso(bench.clock())


def test_runs_go_on_in_due_order(bench: Bench) -> None:
    order: list[str] = []
    for seconds in (30, 10, 20):
        spec = timer(bench.inside(seconds), lambda run: order.append(run.workflow_id), f"w{seconds}")
        bench.go(spec)
    bench.clock.skip(60)
    assert bench.scheduler().poll_once() == 3
    assert order == ["w10", "w20", "w30"]


def test_a_turn_is_a_plain_call_of_tick(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts wrap or replace ``tick`` with what `spec/02 §13.3` says it is called with."""
    calls: list[str] = []
    run = bench.go(timer(bench.inside(60)))

    def tick(*, workflow: WorkflowSpec, run_id: str) -> RunState:
        calls.append(run_id)
        return Runtime.tick(bench.runtime, workflow=workflow, run_id=run_id)

    monkeypatch.setattr(bench.runtime, "tick", tick)
    bench.clock.skip(61)
    assert bench.scheduler().poll_once() == 1
    assert calls == [run.run_id]
    assert bench.runtime.get_state(run.run_id).status is RunStatus.COMPLETED


def test_a_store_that_cannot_be_searched_is_refused() -> None:
    class Bare:
        def save(self, run: RunState) -> None: ...
        def load(self, run_id: str) -> RunState | None: ...

    runtime = Runtime(run_store=Bare(), ledger_store=Bare())  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"QueryableRunStore.*Bare"):
        Scheduler(runtime=runtime, registry=WorkflowRegistry())


@pytest.mark.parametrize(("kept", "expected"), [(0, 0), (2, 2), (10, 3)])
def test_an_unregistered_workflow_is_reported_at_each_poll(bench: Bench, kept: int, expected: int) -> None:
    failed: list[tuple[str, str]] = []
    scheduler = bench.scheduler(
        max_errors_kept=kept, on_run_failed=lambda run_id, exc: failed.append((run_id, str(exc)))
    )
    spec = timer(bench.inside(1))
    run = bench.go(spec)
    bench.registry.unregister("timer")
    bench.clock.skip(2)
    assert [scheduler.poll_once() for _ in range(3)] == [0, 0, 0]
    assert (scheduler.stats.runs_failed, len(scheduler.stats.errors)) == (3, expected)
    assert all(f"Run {run.run_id}: Workflow 'timer' is not" in error for error in scheduler.stats.errors)
    assert len(failed) == 3
    assert bench.runtime.get_state(run.run_id).status is RunStatus.WAITING
    bench.registry.register(spec)
    assert scheduler.poll_once() == 1


def test_a_node_that_raises_rests_and_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def work(run: RunState) -> str:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("boom")
        return "ok"

    scheduler = bench.scheduler()
    run = bench.go(timer(bench.inside(1), work))
    other = bench.go(timer(bench.inside(1), workflow_id="other"))
    bench.clock.skip(2)
    assert scheduler.poll_once() == 1
    assert (scheduler.stats.runs_resumed, scheduler.stats.runs_failed) == (1, 1)
    assert scheduler.stats.errors[0].endswith(f"Run {run.run_id}: boom")
    assert bench.runtime.get_state(other.run_id).status is RunStatus.COMPLETED
    assert bench.runtime.get_state(run.run_id).status is RunStatus.RUNNING
    assert scheduler.poll_once() == 0
    assert len(tries) == 1
    monkeypatch.setattr("abstractruntime.scheduler._backoff.time.monotonic", lambda: 1e12)
    assert scheduler.poll_once() == 1
    assert bench.runtime.get_state(run.run_id).output == {"out": "ok"}


@pytest.mark.weakness("spec/02 U-7")
def test_callback_errors_are_counted_and_hurt_nobody(bench: Bench) -> None:
    def resumed(run: RunState) -> None:
        raise RuntimeError("callback")

    def failed(run_id: str, error: Exception) -> None:
        raise RuntimeError("callback")

    scheduler = bench.scheduler(on_run_resumed=resumed, on_run_failed=failed)
    bench.go(timer(bench.inside(1)))
    bench.go(timer(bench.inside(1), workflow_id="gone"))
    bench.registry.unregister("gone")
    bench.clock.skip(2)
    assert scheduler.poll_once() == 1
    assert (scheduler.stats.runs_resumed, scheduler.stats.runs_failed) == (1, 1)
    assert scheduler.callback_errors == 2


@pytest.mark.weakness("spec/02 S-10")
def test_paused_and_unregistered_runs_at_the_front_block_nobody(bench: Bench) -> None:
    for _ in range(60):
        bench.runtime.pause_run(bench.go(timer(bench.inside(1), workflow_id="paused")).run_id)
        bench.go(timer(bench.inside(1), workflow_id="gone"))
    bench.registry.unregister("gone")
    last = bench.go(timer(bench.inside(2)))
    bench.clock.skip(3)
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 1
    assert bench.runtime.get_state(last.run_id).status is RunStatus.COMPLETED
    assert scheduler.stats.runs_failed == 60


@pytest.mark.weakness("spec/02 S-10")
def test_a_poll_reads_one_page_of_those_that_it_can_not_drive(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(250):
        bench.runtime.pause_run(bench.go(timer(bench.inside(1), workflow_id="paused")).run_id)
    last = bench.go(timer(bench.inside(2)))
    bench.clock.skip(3)
    asked: list[int] = []
    search = bench.runtime.run_store.list_due_wait_until

    def counted(*, now_iso: str, limit: int = 100) -> Any:
        asked.append(limit)
        return search(now_iso=now_iso, limit=limit)

    monkeypatch.setattr(bench.runtime.run_store, "list_due_wait_until", counted)
    assert bench.scheduler().poll_once() == 1
    assert bench.runtime.get_state(last.run_id).status is RunStatus.COMPLETED
    assert asked == [100]


@pytest.mark.weakness("spec/02 S-10")
def test_a_store_of_the_contract_is_searched_to_its_end(bench: Bench) -> None:
    inner = bench.runtime.run_store

    class OnlyTheContract:
        save, load = inner.save, inner.load
        list_runs, list_children = inner.list_runs, inner.list_children
        list_due_wait_until = inner.list_due_wait_until

    plain = Bench(OnlyTheContract(), bench.runtime.ledger_store, bench.clock)
    for _ in range(120):
        plain.runtime.pause_run(plain.go(timer(plain.inside(1), workflow_id="paused")).run_id)
    last = plain.go(timer(plain.inside(2)))
    plain.clock.skip(3)
    assert plain.scheduler().poll_once() == 1
    assert plain.runtime.get_state(last.run_id).status is RunStatus.COMPLETED


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(EffectType.WAIT_EVENT, {"name": "go"}), (EffectType.ASK_USER, {"prompt": "Continue?"})],
)
def test_a_wait_that_takes_too_long_ends(bench: Bench, kind: EffectType, payload: dict[str, Any]) -> None:
    patient = bench.go(flow("patient", wait=asks(kind, payload), done=done))
    hasty = bench.go(flow("hasty", wait=asks(kind, {**payload, "timeout_s": 60}), done=done))
    event = asks(EffectType.WAIT_EVENT, {"name": "go", "timeout_s": 60})
    paused = bench.go(flow("paused", wait=event, done=done))
    bench.runtime.pause_run(paused.run_id)
    scheduler = bench.scheduler()
    bench.clock.skip(59)
    assert scheduler.poll_once() == 0
    bench.clock.skip(2)
    assert scheduler.poll_once() == 1
    out = bench.runtime.get_state(hasty.run_id).output
    assert out is not None
    assert out["out"]["timed_out"] is True
    waiting = [bench.runtime.get_state(run.run_id).status for run in (patient, paused)]
    assert waiting == [RunStatus.WAITING, RunStatus.WAITING]
    bench.runtime.resume_run(paused.run_id)
    assert scheduler.poll_once() == 1


@pytest.mark.weakness("spec/02 S-12")
def test_a_run_that_used_up_its_steps_gets_another_turn(bench: Bench) -> None:
    states: list[RunState] = []
    scheduler = bench.scheduler(on_run_resumed=states.append)
    long = long_one(250)
    spec = timer(bench.inside(1), workflow_id="long")
    spec.nodes["after"] = lambda run, context: long.nodes["node"](run, context)
    run = bench.go(spec)
    bench.clock.skip(2)
    assert [scheduler.poll_once() for _ in range(3)] == [1, 0, 0]
    assert bench.runtime.get_state(run.run_id).output == {"n": 250}
    assert [state.status.value for state in states] == ["running", "running", "completed"]
    assert scheduler.stats.runs_resumed == 1


@pytest.mark.weakness("spec/02 S-12")
def test_runs_left_running_by_a_lost_process_go_on(bench: Bench) -> None:
    run = bench.go(long_one(5), max_steps=2)
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    bench.clock.skip(61)
    assert bench.scheduler(recover_running_after_s=None).poll_once() == 0
    assert scheduler.poll_once() == 0  # it counts those whose time has come (§13.3)
    assert scheduler.stats.runs_resumed == 1
    assert bench.runtime.get_state(run.run_id).output == {"n": 5}


@pytest.mark.weakness("spec/02 S-12")
def test_a_poll_counts_what_was_due_and_no_recovery_however_often_it_is_tried(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = [True]

    def work(run: RunState) -> str:
        if broken[0]:
            raise RuntimeError("boom")
        return "ok"

    def node(run: RunState, context: RunContext) -> StepPlan:
        work(run)
        return done(run, context)

    lost = bench.go(flow("lost", node=node), max_steps=0)
    bench.clock.skip(61)
    due = bench.go(timer(bench.inside(1), work))
    bench.clock.skip(2)
    scheduler = bench.scheduler()
    assert scheduler.poll_once() == 0
    assert scheduler.stats.runs_failed == 2
    broken[0] = False
    monkeypatch.setattr("abstractruntime.scheduler._backoff.time.monotonic", lambda: 1e12)
    assert scheduler.poll_once() == 1  # the one that was due
    for run in (lost, due):
        assert bench.runtime.get_state(run.run_id).status is RunStatus.COMPLETED
    assert scheduler.stats.runs_resumed == 2


def test_a_run_somebody_drives_here_is_not_taken_for_abandoned(bench: Bench) -> None:
    scheduler = bench.scheduler()
    polls: list[int] = []

    def work(run: RunState) -> str:
        bench.clock.skip(3600)
        polls.append(scheduler.poll_once())
        return "ok"

    spec = timer(bench.inside(-1), work)
    assert bench.go(spec).output == {"out": "ok"}
    assert polls == [0]


@pytest.mark.weakness("spec/02 S-1")
@pytest.mark.parametrize("what", ["due", "abandoned"])
def test_one_of_two_schedulers_drives_a_run(open_stores: Callable[[], tuple[Any, Any]], what: str) -> None:
    first = Bench(*open_stores())
    second = Bench(*open_stores(), clock=first.clock)
    driven: list[str] = []
    spec = timer(first.inside(1), lambda run: driven.append(run.run_id))
    second.registry.register(spec)
    runs = [first.go(spec, max_steps=0 if what == "abandoned" else 100).run_id for _ in range(10)]
    first.clock.skip(3600)
    together = Barrier(2)
    schedulers = [bench.scheduler() for bench in (first, second)]
    for bench in (first, second):  # both have seen the same runs before either takes one
        _meet_after_search(bench, together, "list_due_wait_until" if what == "due" else "list_run_index")
    with ThreadPoolExecutor(2) as pool:
        counts = list(pool.map(lambda scheduler: scheduler.poll_once(), schedulers))
    assert sum(counts) == (10 if what == "due" else 0)
    assert sum(scheduler.stats.runs_resumed for scheduler in schedulers) == 10
    assert sorted(driven) == sorted(runs)
    for run_id in runs:
        assert first.runtime.get_state(run_id).status is RunStatus.COMPLETED
        completions = [r for r in first.runtime.get_ledger(run_id) if r["node_id"] == "after"]
        assert len([r for r in completions if r["status"] == "completed" and r["effect"] is None]) == 1


def _meet_after_search(bench: Bench, together: Barrier, method: str) -> None:
    store = bench.runtime.run_store
    search = getattr(type(store), method)

    def found(**filters: Any) -> Any:
        rows = search(store, **filters)
        together.wait(timeout=30)
        return rows

    setattr(store, method, found)


def test_waits_for_events_are_none_of_a_polls_business(bench: Bench) -> None:
    run = bench.go(listener())
    bench.clock.skip(3600)
    assert bench.scheduler().poll_once() == 0
    assert bench.runtime.get_state(run.run_id).status is RunStatus.WAITING
