"""Messages are hints: lost, doubled or early ones change nothing (`DESIGN §1.1`, §4)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from abstractruntime.storage.checkpoints import Task
from tests.poll import eventually
from workers.celery_app import make_celery
from workers.dispatch import CeleryDispatcher
from workers.hints import Hint
from workers.sweep import sweep

from .fleet import CrashFleet

DEADLINE = 60.0


@pytest.mark.failure("the same tick delivered twice, at the same time, to two workers")
def test_the_same_tick_delivered_ten_times_at_once_is_one_step(fleet: CrashFleet) -> None:
    run_id = fleet.client.start("call")
    checkpoint = fleet.client.checkpoint(run_id)
    hint = Hint(Task.TICK, run_id, checkpoint.version, "call", "call")
    dispatcher = CeleryDispatcher(make_celery(fleet.settings), fleet.settings)
    for name in ("a", "b", "c"):
        fleet.worker(name)
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(lambda _: dispatcher.send([hint]), range(10)))
    fleet.beat()
    assert fleet.client.wait(run_id, timeout=DEADLINE).output == {"charged": {"attempt": 1}}
    assert list(fleet.calls().values()) == [1]


@pytest.mark.failure("the same tick delivered twice, at the same time, to two workers")
def test_the_same_effect_delivered_ten_times_at_once_is_one_call(fleet: CrashFleet) -> None:
    fleet.worker("ticks", queues="ticks")
    run_id = fleet.client.start("call")
    eventually(lambda: fleet.client.checkpoint(run_id).step, timeout=DEADLINE, message="no pending effect")
    checkpoint = fleet.client.checkpoint(run_id)
    hint = Hint(Task.EFFECT, run_id, checkpoint.version, "call", "call")
    dispatcher = CeleryDispatcher(make_celery(fleet.settings), fleet.settings)
    dispatcher.send([hint] * 10)
    for name in ("a", "b"):
        fleet.worker(name, queues="effects", pool="threads", concurrency=5)
    assert fleet.client.wait(run_id, timeout=DEADLINE).output == {"charged": {"attempt": 1}}
    assert list(fleet.calls().values()) == [1]


@pytest.mark.failure("two beats, two sweeps, ten resumers")
def test_two_sweeps_at_once_send_each_run_once(fleet: CrashFleet) -> None:
    for _ in range(40):
        fleet.client.start("chain", {"steps": 1})
    sent: list[Hint] = []

    class Collecting:
        def send(self, messages: list[Hint]) -> None:
            sent.extend(messages)

        def is_full(self, task: Task, *, look: bool = False) -> bool:
            return False

    timing = fleet.client.commits.timing
    store = fleet.client.store
    eventually(
        lambda: store.now() > max(store.load(run.run_id).wake_at for run in fleet.client.list()),
        timeout=DEADLINE,
        message="the grace did not pass",
    )
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: sweep(store, Collecting(), timing, batch=7), range(2)))
    assert len(sent) == 40
    assert len({hint.run_id for hint in sent}) == 40


@pytest.mark.failure("resumer dead while an event is emitted through the client")
def test_an_event_emitted_while_the_resumer_is_dead_is_delivered(fleet: CrashFleet) -> None:
    fleet.worker("a")
    fleet.beat()
    fleet.resumer()
    run_id = fleet.client.start("event", {"key": "payment:1"})
    eventually(
        lambda: fleet.client.get(run_id).status.value == "waiting", timeout=DEADLINE, message="no wait"
    )
    fleet.kill("resumer")
    receipt = fleet.client.emit_event("paid", {"amount": 3}, wait_key="payment:1")
    assert receipt.resumed == [run_id]
    assert fleet.client.wait(run_id, timeout=DEADLINE).status.value == "completed"


def test_an_event_that_comes_before_its_wait_is_kept(fleet: CrashFleet) -> None:
    release = fleet.folder / "release"
    fleet.worker("a")
    fleet.beat()
    run_id = fleet.client.start("late", {"release": str(release), "key": "payment:2"})
    receipt = fleet.client.emit_event("paid", {"amount": 3}, wait_key="payment:2", event_id="e-1")
    assert (receipt.accepted, receipt.resumed) == (True, [])
    assert not fleet.client.emit_event("paid", {}, wait_key="payment:2", event_id="e-1").accepted
    release.touch()
    run = fleet.client.wait(run_id, timeout=DEADLINE)
    assert run.output is not None
    assert run.output["event"]["payload"] == {"amount": 3}


def test_plain_publish_wakes_a_run_through_the_resumer(fleet: CrashFleet) -> None:
    redis = Redis.from_url(fleet.redis_url)
    fleet.worker("a")
    fleet.resumer()
    run_id = fleet.client.start("event", {"key": "payment:3"})
    channel = fleet.settings.event_channel + "payment:3"
    eventually(
        lambda: fleet.client.get(run_id).status.value == "waiting", timeout=DEADLINE, message="no wait"
    )

    def woken() -> bool:
        """A message without an id is delivered once some resumer is active, which takes it a moment."""
        redis.publish(channel, '{"amount": 5}')
        return fleet.client.get(run_id).status.value != "waiting"

    eventually(woken, timeout=DEADLINE, message="no resumer delivers", interval=0.2)
    assert fleet.client.wait(run_id, timeout=DEADLINE).status.value == "completed"
