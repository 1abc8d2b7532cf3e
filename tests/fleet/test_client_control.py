"""Cancel, pause, unpause, retry, limits: also against steps, effects, events and children in flight."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import Effect, RunState, RunStatus, WaitReason
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.checkpoints import Task
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.flows import make_app
from tests.fleet.pump import Pump
from workers.client import Client
from workers.settings import Settings


def _children(client: Client, run_id: str) -> list[str]:
    return [run.run_id for run in client.list(parent_run_id=run_id)]


def _statuses(client: Client, run_id: str) -> list[str]:
    return [str(entry.record["status"]) for entry in client.ledger(run_id)]


# -- cancel ---------------------------------------------------------------------------------------


def test_cancelling_takes_the_whole_tree(client: Client, pump: Pump) -> None:
    root = client.start("parent", {"of": "parent", "child_vars": {"of": "ask"}})
    pump.run()
    (child,) = _children(client, root)
    (leaf,) = _children(client, child)
    cancelled = client.cancel(root, reason="enough")
    assert [run.run_id for run in cancelled] == [root, child, leaf]
    for run_id in (root, child, leaf):
        run = client.get(run_id)
        assert (run.status, run.error) == (RunStatus.CANCELLED, "enough")
        last = client.ledger(run_id)[-1].record
        assert last["idempotency_key"] == "system:terminal_status:cancelled"
    pump.run()
    assert set(pump.ended()) == {root, child, leaf}


def test_running_children_of_an_ended_run_are_reached(client: Client, pump: Pump) -> None:
    root = client.start("parent", {"of": "brood", "child_vars": {"of": "ask"}})
    pump.run()
    assert client.get(root).status is RunStatus.COMPLETED
    (brood,) = _children(client, root)
    (leaf,) = _children(client, brood)
    assert client.get(brood).status is RunStatus.COMPLETED
    assert [run.run_id for run in client.cancel(root)] == [leaf]
    assert client.get(leaf).status is RunStatus.CANCELLED


def test_cancelling_again_changes_nothing(client: Client, pump: Pump) -> None:
    run_id = client.start("ask")
    pump.run()
    client.cancel(run_id, reason="first")
    before = client.checkpoint(run_id)
    assert [run.error for run in client.cancel(run_id, reason="second")] == ["first"]
    assert client.checkpoint(run_id).version == before.version
    done = client.start("add")
    pump.run()
    assert client.cancel(done) == []
    assert client.get(done).status is RunStatus.COMPLETED


def test_a_parent_whose_child_is_cancelled_fails(client: Client, pump: Pump) -> None:
    root = client.start("parent", {"of": "ask"})
    pump.run()
    (child,) = _children(client, root)
    assert [run.run_id for run in client.cancel(child)] == [child]
    run = client.get(root)
    assert run.status is RunStatus.FAILED
    assert run.error is not None
    assert "cancelled" in run.error


def test_a_cancelled_run_is_not_resumed_by_a_late_hint(client: Client, pump: Pump) -> None:
    run_id = client.start("add")
    client.cancel(run_id)
    pump.run()
    assert client.get(run_id).status is RunStatus.CANCELLED
    assert client.checkpoint(run_id).wake_at is None


# -- an effect in flight --------------------------------------------------------------------------


class SlowTool:
    """A tool call that lasts until the test says so."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.calls = 0

    def __call__(self, run: RunState, effect: Effect) -> EffectOutcome:
        self.calls += 1
        self.began.set()
        assert self.may_end.wait(30)
        return EffectOutcome.completed({"n": self.calls})


@pytest.fixture
def slow() -> SlowTool:
    return SlowTool()


@pytest.fixture
def slow_pump(fleet_settings: Settings, fleet_store: SqlCheckpointStore, slow: SlowTool) -> Pump:
    return Pump(fleet_settings, make_app(tool=slow), fleet_store)


@pytest.fixture
def slow_client(fleet_settings: Settings, slow_pump: Pump) -> Client:
    store = slow_pump.deployment.store
    assert isinstance(store, SqlCheckpointStore)
    return Client(slow_pump.deployment.app, settings=fleet_settings, store=store, dispatcher=slow_pump)


def test_an_outcome_obtained_after_cancelling_is_kept(
    slow_client: Client, slow_pump: Pump, slow: SlowTool
) -> None:
    run_id = slow_client.start("call")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(slow_pump.run)
        assert slow.began.wait(20)
        slow_client.cancel(run_id)
        assert slow_client.checkpoint(run_id).step is not None
        slow.may_end.set()
        working.result()
    assert slow_client.get(run_id).status is RunStatus.CANCELLED
    assert _statuses(slow_client, run_id) == ["started", "completed", "completed"]
    assert slow_client.checkpoint(run_id).step is None


def test_an_effect_in_flight_outlives_pause_and_unpause(
    slow_client: Client, slow_pump: Pump, slow: SlowTool
) -> None:
    run_id = slow_client.start("call")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(slow_pump.run)
        assert slow.began.wait(20)
        assert slow_client.pause(run_id, reason="lunch").status is RunStatus.WAITING
        assert slow_client.unpause(run_id).status is RunStatus.RUNNING
        slow_client.update_limits(run_id, {"max_iterations": 7})
        held = slow_client.checkpoint(run_id)
        assert held.step is not None
        assert held.lease_until is not None
        slow.may_end.set()
        working.result()
    slow_pump.run()
    run = slow_client.get(run_id)
    assert run.output == {"called": {"n": 1}}
    assert run.vars["_limits"]["max_iterations"] == 7
    assert slow.calls == 1


def test_an_outcome_obtained_while_paused_is_used_after_unpausing(
    slow_client: Client, slow_pump: Pump, slow: SlowTool
) -> None:
    run_id = slow_client.start("call")
    with ThreadPoolExecutor(1) as pool:
        working = pool.submit(slow_pump.run)
        assert slow.began.wait(20)
        slow_client.pause(run_id)
        slow.may_end.set()
        working.result()
    slow_pump.run()
    paused = slow_client.checkpoint(run_id)
    assert (paused.run.status, paused.run.current_node, paused.step) == (RunStatus.WAITING, "done", None)
    slow_client.unpause(run_id)
    slow_pump.run()
    assert slow_client.get(run_id).output == {"called": {"n": 1}}
    assert slow.calls == 1


def test_an_effect_whose_worker_is_lost_while_paused_runs_after_unpausing(client: Client, pump: Pump) -> None:
    run_id = client.start("call")
    tick = pump.deployment.engine.tick
    tick(run_id, 1)  # asks for the effect, which is queued
    queued = client.checkpoint(run_id)
    assert queued.task is Task.EFFECT
    client.pause(run_id)
    pump.run()
    assert client.checkpoint(run_id).wake_at is None
    client.unpause(run_id)
    pump.run()
    assert client.get(run_id).output == {"called": {"ok": True}}


# -- pause ----------------------------------------------------------------------------------------


def test_a_paused_run_takes_no_step(client: Client, pump: Pump) -> None:
    run_id = client.start("add")
    run = client.pause(run_id)
    assert run.waiting is not None
    assert run.waiting.wait_key == f"pause:{run_id}"
    assert client.pause(run_id).updated_at == run.updated_at
    pump.run()
    assert pump.sweep() == 0
    assert client.get(run_id).status is RunStatus.WAITING
    assert client.unpause(run_id).status is RunStatus.RUNNING
    assert client.unpause(run_id).status is RunStatus.RUNNING
    pump.run()
    assert client.get(run_id).status is RunStatus.COMPLETED
    kinds = [(entry.record["effect"] or {}).get("type") for entry in client.ledger(run_id)]
    assert kinds[:2] == ["pause", "unpause"]  # a fleet's operators see who did what


def test_unpausing_meets_an_event_that_came_meanwhile(client: Client, pump: Pump) -> None:
    run_id = client.start("listen")
    pump.run()
    client.pause(run_id)
    receipt = client.emit_event("paid", {"n": 1}, session_id="s1")
    assert (receipt.accepted, receipt.resumed) == (True, [])
    assert client.get(run_id).status is RunStatus.WAITING
    assert client.unpause(run_id).status is RunStatus.RUNNING
    pump.run()
    output = client.get(run_id).output
    assert output is not None
    assert output["event"]["payload"] == {"n": 1}


def test_unpausing_goes_on_waiting_when_nothing_came(client: Client, pump: Pump) -> None:
    run_id = client.start("listen")
    pump.run()
    client.pause(run_id)
    run = client.unpause(run_id)
    assert run.waiting is not None
    assert run.waiting.reason is WaitReason.EVENT
    assert client.emit_event("paid", session_id="s1").resumed == [run_id]


@pytest.mark.parametrize("ending", ["completed", "cancelled"])
def test_unpausing_meets_a_child_that_ended_meanwhile(client: Client, pump: Pump, ending: str) -> None:
    root = client.start("parent", {"of": "ask"})
    pump.run()
    (child,) = _children(client, root)
    client.pause(root)
    if ending == "completed":
        client.respond(child, "yes")
        pump.run()
    else:
        client.cancel(child)
    assert client.get(root).status is RunStatus.WAITING
    run = client.unpause(root)
    if ending == "cancelled":
        assert run.status is RunStatus.FAILED
        return
    pump.run()
    output = client.get(root).output
    assert output is not None
    assert output["child"]["output"] == {"answer": "yes"}


# -- retry and limits -----------------------------------------------------------------------------


def test_a_failed_run_goes_on_from_the_step_that_failed(
    fleet_settings: Settings, fleet_store: SqlCheckpointStore
) -> None:
    healthy = threading.Event()

    def llm(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.completed({"ok": 1}) if healthy.is_set() else EffectOutcome.failed("no model")

    pump = Pump(fleet_settings, make_app(llm=llm), fleet_store)
    client = Client(pump.deployment.app, settings=fleet_settings, store=fleet_store, dispatcher=pump)
    run_id = client.start("fragile")
    pump.run()
    assert client.get(run_id).status is RunStatus.FAILED
    healthy.set()
    run = client.retry(run_id)
    assert (run.status, run.current_node, run.error) == (RunStatus.RUNNING, "fragile", None)
    pump.run()
    assert client.get(run_id).output == {"called": {"ok": 1}}
    with pytest.raises(InvalidInputError, match="only a failed run can be retried"):
        client.retry(run_id)


def test_a_retried_run_whose_hint_is_lost_is_swept(client: Client, pump: Pump) -> None:
    root = client.start("parent", {"of": "ask"})
    pump.run()
    client.cancel(_children(client, root)[0])
    client.retry(root)
    checkpoint = client.checkpoint(root)
    assert checkpoint.wake_at is not None
    assert checkpoint.wake_at <= checkpoint.now + pump.deployment.timing.grace_s + 1.0


def test_limits(client: Client, pump: Pump) -> None:
    run_id = client.start("listen")
    pump.run()
    run = client.update_limits(run_id, {"max_iterations": 3, "unknown": 1})
    assert run.vars["_limits"]["max_iterations"] == 3
    assert "unknown" not in run.vars["_limits"]
    assert run.status is RunStatus.WAITING
    assert client.emit_event("paid", session_id="s1").resumed == [run_id]
    with pytest.raises(InvalidInputError, match=r"updates\.max_tokens is nan"):
        client.update_limits(run_id, {"max_tokens": float("nan")})


# -- races ----------------------------------------------------------------------------------------


def test_control_against_steps_and_events_of_the_same_run(client: Client, pump: Pump) -> None:
    """Whatever the order: nobody is refused, no deadlock, and the run does what it was told."""
    run_id = client.start("twice")
    pump.run()
    barrier = threading.Barrier(4)

    def pause_and_unpause() -> None:
        barrier.wait()
        for _ in range(8):
            client.pause(run_id)
            client.unpause(run_id)

    def emit() -> None:
        barrier.wait()
        client.emit_event("paid", {"n": 1}, session_id="s1")
        client.emit_event("paid", {"n": 2}, session_id="s1")

    def limit() -> None:
        barrier.wait()
        for n in range(8):
            client.update_limits(run_id, {"max_iterations": n + 10})

    def work() -> None:
        barrier.wait()
        for _ in range(20):
            pump.run()

    with ThreadPoolExecutor(4) as pool:
        for task in [pool.submit(job) for job in (pause_and_unpause, emit, limit, work)]:
            task.result(timeout=60)
    pump.run()
    run = client.get(run_id)
    assert run.status is RunStatus.COMPLETED, run
    assert run.output is not None
    assert [run.output[name]["payload"]["n"] for name in ("first", "event")] == [1, 2]
    assert [entry.seq for entry in client.ledger(run_id)] == list(range(1, len(client.ledger(run_id)) + 1))


def test_cancel_against_children_that_end(client: Client, pump: Pump) -> None:
    """A child's end reaches for its parent's row while the cancel holds rows of the tree."""
    roots = [client.start("parent", {"of": "ask"}) for _ in range(8)]
    pump.run()
    children = {root: _children(client, root)[0] for root in roots}
    for child in children.values():
        client.respond(child, "x")
    with ThreadPoolExecutor(3) as pool:
        working = [pool.submit(pump.run) for _ in range(2)]
        cancelling = [pool.submit(client.cancel, root) for root in roots]
        for task in (*working, *cancelling):
            task.result(timeout=60)
    pump.run()
    for root, child in children.items():
        assert client.get(root).is_terminal
        assert client.get(child).is_terminal
        # A completed child never leaves its parent waiting, a cancelled tree never goes on.
        assert client.get(root).status in (RunStatus.CANCELLED, RunStatus.COMPLETED)
