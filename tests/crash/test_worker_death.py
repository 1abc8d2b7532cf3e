"""Workers killed with -9 at named points: nothing is lost, no step is there twice (`DESIGN §4`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.poll import eventually

from .fleet import CrashFleet

DEADLINE = 60.0


@pytest.mark.parametrize("point", ["step.before_commit", "step.after_commit", "step.before_publish"])
def test_a_worker_killed_around_a_commit_loses_and_doubles_nothing(fleet: CrashFleet, point: str) -> None:
    mark = fleet.folder / "killed"
    run_ids = [fleet.client.start("chain", {"steps": 6}) for _ in range(3)]
    victim = fleet.worker("victim", faults=f"{point}=kill:4@{mark}")
    fleet.beat()
    eventually(lambda: victim.poll() is not None, timeout=DEADLINE, message="the victim was not killed")
    assert victim.returncode == -9
    assert mark.exists()
    fleet.worker("heir")
    for run_id in run_ids:
        run = fleet.client.wait(run_id, timeout=DEADLINE)
        assert run.output == {"n": 6}
        fleet.assert_ledger_is_whole(run_id)
        told = [entry.record for entry in fleet.client.ledger(run_id) if entry.record["node_id"] == "chain"]
        messages = [
            record["result"]["message"]
            for record in told
            if record["status"] == "completed" and (record["effect"] or {}).get("type") == "answer_user"
        ]
        assert messages == [f"step {n}" for n in range(1, 7)]


@pytest.mark.parametrize("point", ["effect.claimed", "effect.done"])
def test_a_worker_killed_inside_an_effect_is_succeeded_with_the_same_key(
    fleet: CrashFleet, point: str
) -> None:
    mark = fleet.folder / "killed"
    fleet.worker("ticks", queues="ticks")
    fleet.beat()
    victim = fleet.worker("victim", queues="effects", faults=f"{point}=kill@{mark}")
    run_id = fleet.client.start("call")
    eventually(lambda: victim.poll() is not None, timeout=DEADLINE, message="the victim was not killed")
    fleet.worker("heir", queues="effects")
    run = fleet.client.wait(run_id, timeout=DEADLINE)
    assert run.output == {"charged": {"attempt": 2}}
    fleet.assert_ledger_is_whole(run_id)
    records = [entry.record for entry in fleet.client.ledger(run_id) if entry.record["node_id"] == "call"]
    started = [record for record in records if record["status"] == "started"]
    assert [record["attempt"] for record in started] == [1, 2]
    assert len({record["idempotency_key"] for record in started}) == 1
    assert list(fleet.calls().values()) == [1 if point == "effect.claimed" else 2]


def test_a_frozen_worker_that_comes_back_after_its_lease_is_refused(fleet: CrashFleet) -> None:
    import signal

    hold = fleet.folder / "hold"
    fleet.worker("ticks", queues="ticks")
    fleet.beat()
    frozen = fleet.worker("frozen", queues="effects")
    run_id = fleet.client.start("call", {"hold": str(hold)})
    eventually(lambda: fleet.calls(), timeout=DEADLINE, message="the effect did not begin")
    frozen.send_signal(signal.SIGSTOP)
    fleet.worker("heir", queues="effects")
    run = fleet.client.wait(run_id, timeout=DEADLINE)
    assert run.output == {"charged": {"attempt": 2}}
    before = fleet.client.ledger(run_id)
    hold.touch()
    frozen.send_signal(signal.SIGCONT)
    log = fleet.folder / "frozen.log"
    eventually(
        lambda: "refused" in log.read_text(), timeout=DEADLINE, message="the late outcome was not refused"
    )
    assert fleet.client.ledger(run_id) == before
    fleet.assert_ledger_is_whole(run_id)


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
    assert fleet.client.wait(run_id, timeout=DEADLINE).output is not None
    fleet.assert_ledger_is_whole(run_id)
