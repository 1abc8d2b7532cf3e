"""Workers killed with -9 or frozen at named points: nothing is lost, no step is there twice (`DESIGN §4`).

After each test the `fleet` fixture checks every run against `tests.ledger_invariants`.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.poll import eventually

from .fleet import CrashFleet

pytestmark = pytest.mark.chaos
DEADLINE = 60.0

TICK_POINTS = ["step.before_commit", "step.after_commit", "step.before_publish"]
EFFECT_POINTS = ["effect.claimed", "effect.done", *TICK_POINTS]


def _points(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("point", names)


@pytest.mark.failure(
    "worker killed (-9) before the commit of a step", "worker killed after the commit, before the publish"
)
@_points(*TICK_POINTS)
def test_a_worker_killed_around_a_commit_loses_and_doubles_nothing(fleet: CrashFleet, point: str) -> None:
    run_ids = [fleet.client.start("chain", {"steps": 6}) for _ in range(3)]
    victim = fleet.worker("victim", faults=f"{point}=kill:4")
    fleet.beat()
    fleet.dies(victim)
    fleet.worker("heir")
    for run_id in run_ids:
        assert fleet.finished(run_id).output == {"n": 6}
        told = [entry.record for entry in fleet.client.ledger(run_id) if entry.record["node_id"] == "chain"]
        messages = [
            record["result"]["message"]
            for record in told
            if record["status"] == "completed" and (record["effect"] or {}).get("type") == "answer_user"
        ]
        assert messages == [f"step {n}" for n in range(1, 7)]


@pytest.mark.failure(
    "worker killed (-9) before the commit of a step", "worker killed after the commit, before the publish"
)
@_points(*TICK_POINTS)
def test_a_transaction_of_several_runs_is_whole_or_not_at_all(fleet: CrashFleet, point: str) -> None:
    """Starting a child, and its end that resumes the parent, write two runs in one transaction."""
    families = [fleet.client.start("family") for _ in range(2)]
    fleet.beat()
    for n in (1, 3):
        fleet.dies(fleet.worker(f"victim{n}", faults=f"{point}=kill:{n}"))
    fleet.worker("heir")
    for run_id in families:
        assert fleet.finished(run_id).output is not None
        assert len(fleet.client.list(parent_run_id=run_id)) == 1


@pytest.mark.failure("worker killed inside an effect")
@_points(*EFFECT_POINTS)
def test_a_worker_killed_around_an_effect_is_succeeded_with_the_same_key(
    fleet: CrashFleet, point: str
) -> None:
    fleet.worker("ticks", queues="ticks")
    fleet.beat()
    victim = fleet.worker("victim", queues="effects", faults=f"{point}=kill")
    run_id = fleet.client.start("call")
    fleet.dies(victim)
    fleet.worker("heir", queues="effects")
    run = fleet.finished(run_id)
    # The outcome is committed last: killed after that, nothing is done again.
    attempts = 1 if point in ("step.after_commit", "step.before_publish") else 2
    assert run.output == {"charged": {"attempt": attempts}}
    assert _started(fleet, run_id) == list(range(1, attempts + 1))
    assert list(fleet.calls().values()) == [1 if point == "effect.claimed" else attempts]


@pytest.mark.failure("worker killed inside an effect")
@_points("effect.claimed", "effect.done")
def test_a_worker_killed_around_a_quick_effect(fleet: CrashFleet, point: str) -> None:
    fleet.beat()
    victim = fleet.worker("victim", faults=f"{point}=kill")
    run_id = fleet.client.start("quick")
    fleet.dies(victim)
    fleet.worker("heir")
    assert fleet.finished(run_id).output == {"said": {"attempt": 2}}
    assert _started(fleet, run_id) == [1, 2]
    assert list(fleet.calls().values()) == [1 if point == "effect.claimed" else 2]


@pytest.mark.failure("worker killed after the commit, before the publish")
def test_a_worker_killed_in_the_middle_of_the_sweep(fleet: CrashFleet) -> None:
    """It has pushed the wake-ups away and sent nothing: they come round again."""
    run_ids = [fleet.client.start("chain", {"steps": 2}) for _ in range(5)]
    fleet.lose_messages()
    fleet.beat()
    fleet.dies(fleet.worker("victim", faults="sweep.claimed=kill"))
    fleet.worker("heir")
    for run_id in run_ids:
        fleet.finished(run_id)


@pytest.mark.failure("worker killed (-9) before the commit of a step")
def test_a_worker_killed_between_a_scheduled_start_and_its_bookkeeping(fleet: CrashFleet) -> None:
    often = {"CRASH_TESTS_SCHEDULE": "1"}
    fleet.beat(**often)
    fleet.dies(fleet.worker("victim", faults="schedule.started=kill", **often))
    fleet.worker("heir", **often)
    eventually(lambda: len(fleet.occurrences()) >= 3, timeout=DEADLINE, message="no occurrences")
    _assert_each_second_once(fleet)


def _assert_each_second_once(fleet: CrashFleet) -> None:
    times = fleet.occurrences()
    assert times == [times[0] + n for n in range(len(times))]


@pytest.mark.failure("worker frozen (SIGSTOP) past its lease, then continued")
def test_a_worker_frozen_in_an_effect_past_its_lease_is_refused(fleet: CrashFleet) -> None:
    hold = fleet.folder / "hold"
    fleet.worker("ticks", queues="ticks")
    fleet.beat()
    frozen = fleet.worker("frozen", queues="effects")
    run_id = fleet.client.start("call", {"hold": str(hold)})
    eventually(lambda: fleet.calls(), timeout=DEADLINE, message="the effect did not begin")
    frozen.send_signal(signal.SIGSTOP)
    fleet.worker("heir", queues="effects")
    assert fleet.finished(run_id).output == {"charged": {"attempt": 2}}
    before = fleet.client.ledger(run_id)
    hold.touch()
    fleet.resume(frozen)
    log = fleet.folder / "frozen.log"
    eventually(
        lambda: "refused" in log.read_text(), timeout=DEADLINE, message="the late outcome was not refused"
    )
    assert fleet.client.ledger(run_id) == before


@pytest.mark.failure("worker frozen (SIGSTOP) past its lease, then continued")
def test_a_worker_frozen_before_a_commit_is_refused(fleet: CrashFleet) -> None:
    """Others have gone on: the late commit loses by its version."""
    fleet.beat()
    run_id = fleet.client.start("chain", {"steps": 3})
    frozen = fleet.worker("frozen", faults="step.before_commit=stop:2")
    fleet.stops(frozen)
    fleet.worker("heir")
    assert fleet.finished(run_id).output == {"n": 3}
    before = fleet.client.ledger(run_id)
    log = fleet.folder / "frozen.log"
    done = log.read_text().count("succeeded")
    fleet.resume(frozen)
    eventually(lambda: log.read_text().count("succeeded") > done, timeout=DEADLINE, message="it hangs")
    assert fleet.client.ledger(run_id) == before


def test_a_worker_that_ends_gracefully_hands_its_work_over(fleet: CrashFleet) -> None:
    release: Path = fleet.folder / "release"
    worker = fleet.worker("first")
    run_id = fleet.client.start("late", {"release": str(release), "key": "k"})
    log = fleet.folder / "first.log"
    eventually(lambda: "received" in log.read_text(), timeout=DEADLINE, message="the tick did not begin")
    worker.terminate()
    release.touch()
    assert worker.wait(30) == 0
    fleet.worker("second")
    fleet.beat()
    fleet.client.emit_event("paid", {"ok": True}, wait_key="k")
    assert fleet.finished(run_id).output is not None


def _started(fleet: CrashFleet, run_id: str) -> list[int]:
    """Attempts of the run's one outside effect, which all have one key."""
    records = [entry.record for entry in fleet.client.ledger(run_id)]
    started = [record for record in records if record["status"] == "started"]
    assert len({record["idempotency_key"] for record in started}) == 1
    return [record["attempt"] for record in started]
