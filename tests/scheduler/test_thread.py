"""The background thread: start, stop, slow runs, errors (`spec/02 §13.2`, §15 S-8, S-11)."""

from __future__ import annotations

import threading
from threading import Event
from typing import Any

import pytest

from abstractruntime import RunState, RunStatus
from tests.poll import eventually

from .conftest import Bench
from .flows import long_one, timer


def _status(bench: Bench, run: RunState) -> RunStatus:
    return bench.runtime.get_state(run.run_id).status


def test_start_polls_at_once_and_stop_ends_it(bench: Bench) -> None:
    scheduler = bench.scheduler(poll_interval_s=60)
    scheduler.stop()
    for cycle in (1, 2):
        scheduler.start()
        assert scheduler.is_running
        with pytest.raises(RuntimeError, match=r"^Scheduler is already running$"):
            scheduler.start()
        eventually(lambda cycle=cycle: scheduler.stats.poll_cycles == cycle)
        names = [thread.name for thread in threading.enumerate() if thread.daemon]
        assert names.count("abstractruntime-scheduler") == 1
        scheduler.stop()
        assert not scheduler.is_running


@pytest.mark.weakness("spec/02 S-11")
@pytest.mark.weakness("spec/02 S-8")
def test_a_slow_run_delays_nobody_and_start_waits_for_its_end(bench: Bench) -> None:
    entered, release = Event(), Event()

    def slow(run: RunState) -> str:
        entered.set()
        assert release.wait(30)
        return "slow"

    scheduler = bench.scheduler(poll_interval_s=0.01, max_workers=2)
    first = bench.go(timer(bench.inside(1), slow, "slow"))
    bench.clock.skip(2)
    scheduler.start()
    try:
        assert entered.wait(10)
        second = bench.go(timer(bench.inside(1)))
        bench.clock.skip(2)
        eventually(lambda: _status(bench, second) is RunStatus.COMPLETED)
        scheduler.stop(timeout=0.05)
        assert not scheduler.is_running
        polls = scheduler.stats.poll_cycles
        with pytest.raises(RuntimeError, match="already running"):
            scheduler.start()
        assert scheduler.stats.poll_cycles == polls
    finally:
        release.set()
    eventually(lambda: _status(bench, first) is RunStatus.COMPLETED)

    def start_again() -> bool:
        try:
            scheduler.start()
        except RuntimeError:
            return False
        return True

    eventually(start_again)


@pytest.mark.weakness("spec/02 S-11")
def test_no_more_runs_at_once_than_workers(bench: Bench) -> None:
    lock, release = threading.Lock(), Event()
    at_once: list[int] = [0, 0]

    def work(run: RunState) -> str:
        with lock:
            at_once[0] += 1
            at_once[1] = max(at_once)
        assert release.wait(30)
        with lock:
            at_once[0] -= 1
        return "ok"

    runs = [bench.go(timer(bench.inside(1), work, f"w{n}")) for n in range(6)]
    bench.clock.skip(2)
    scheduler = bench.scheduler(poll_interval_s=0.01, max_workers=2)
    scheduler.start()
    eventually(lambda: at_once[0] == 2 and scheduler.stats.poll_cycles > 3)
    release.set()
    eventually(lambda: all(_status(bench, run) is RunStatus.COMPLETED for run in runs))
    assert at_once[1] == 2


def test_a_long_run_goes_on_between_polls(bench: Bench) -> None:
    scheduler = bench.scheduler(poll_interval_s=3600)
    run = bench.go(long_one(1000), max_steps=1)
    bench.clock.skip(61)
    scheduler.start()
    eventually(lambda: _status(bench, run) is RunStatus.COMPLETED)
    assert scheduler.stats.poll_cycles == 1


def test_a_failing_run_rests_between_its_tries(bench: Bench) -> None:
    def broken(run: RunState) -> Any:
        raise RuntimeError("boom")

    scheduler = bench.scheduler(poll_interval_s=0.001)
    bench.go(timer(bench.inside(1), broken))
    bench.go(timer(bench.inside(1), workflow_id="gone"))
    bench.registry.unregister("gone")
    bench.clock.skip(2)
    scheduler.start()
    eventually(lambda: scheduler.stats.poll_cycles > 50)
    scheduler.stop()
    assert 2 <= scheduler.stats.runs_failed <= 10
    assert scheduler.stats.runs_resumed == 0


def test_a_poll_that_breaks_off_is_reported_and_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: Any) -> Any:
        raise OSError("disk gone")

    scheduler = bench.scheduler(poll_interval_s=0.01)
    with monkeypatch.context() as patch:
        patch.setattr(bench.runtime.run_store, "list_due_wait_until", broken)
        scheduler.start()
        eventually(lambda: len(scheduler.stats.errors) > 1)
    assert "Poll cycle error: disk gone" in scheduler.stats.errors[0]
    run = bench.go(timer(bench.inside(1)))
    bench.clock.skip(2)
    eventually(lambda: _status(bench, run) is RunStatus.COMPLETED)


def test_stop_may_be_called_from_a_callback(bench: Bench) -> None:
    scheduler = bench.scheduler(poll_interval_s=0.01, on_run_resumed=lambda run: scheduler.stop())
    bench.go(timer(bench.inside(1)))
    bench.clock.skip(2)
    scheduler.start()
    eventually(lambda: not scheduler.is_running)
    assert scheduler.callback_errors == 0
