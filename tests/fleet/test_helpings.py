"""A worker takes several messages at a time only from a long queue, and only while its tasks are short."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from abstractruntime.storage.checkpoints import Task
from tests.fleet.consuming import Worker, follow_up, publishing
from workers import helpings
from workers.helpings import LONG, MOST, Helpings
from workers.hints import Announcement, Hint
from workers.settings import Settings


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(helpings, "monotonic", made)
    return made


@pytest.fixture
def worker(redis_url: str) -> Iterator[Worker]:
    made = Worker(Settings(redis_url=redis_url, broker_url=None, prefix="helpings", publish_timeout=0.5))
    yield made
    made.close()


@pytest.fixture
def broker(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


def fill(worker: Worker, number: int) -> list[tuple[str, int]]:
    names = [f"r{n:03}" for n in range(number)]
    worker.dispatcher.send([Hint(Task.TICK, name, 1, "n", "w") for name in names])
    return [(name, 1) for name in names]


def requests(broker: Redis) -> int:
    return int(broker.info("commandstats")["cmdstat_brpop"]["calls"])


def ended(message: Any) -> list[Announcement | Hint]:
    return [Announcement(message.payload[0][0])]


def take_tasks(sizes: Helpings, clock: Clock, seconds: float, number: int = 20) -> int:
    for _ in range(number):
        sizes.begin()
        clock.now += seconds
        sizes.end()
    return sizes.more() + 1


def test_how_many_at_a_time(clock: Clock) -> None:
    sizes = Helpings()
    sizes.see(LONG)
    assert sizes.more() == 0  # nothing is known of its tasks
    assert take_tasks(sizes, clock, 0.001) == MOST
    assert take_tasks(sizes, clock, 0.008, 1) == 2
    assert take_tasks(sizes, clock, 1.0, 1) == 1
    assert take_tasks(sizes, clock, 0.001) == 1  # and is not forgotten soon
    assert take_tasks(sizes, clock, 0.001) == MOST
    sizes.see(LONG - 1)
    assert sizes.more() == 0


def test_a_long_queue_costs_few_exchanges_and_keeps_its_order(
    worker: Worker, broker: Redis, clock: Clock
) -> None:
    worker.work = publishing(worker, ended)
    names = fill(worker, 200)
    broker.config_resetstat()
    while len(worker.done) < 200:
        worker.take()
    # Within one exchange, what came with it is older than what the request itself brought.
    assert sorted(worker.done) == names
    assert all(abs(names.index(done) - place) < MOST for place, done in enumerate(worker.done))
    assert requests(broker) < 100


def test_who_works_elsewhere_takes_one_at_a_time(worker: Worker, broker: Redis) -> None:
    fill(worker, 60)
    broker.config_resetstat()
    for number in range(40):
        worker.take()
        assert len(worker.done) == number + 1
    assert requests(broker) == 40
    assert "cmdstat_rpop" not in broker.info("commandstats")


def test_who_stops_gives_back_what_he_has_not_begun(worker: Worker, broker: Redis, clock: Clock) -> None:
    worker.work = publishing(worker, ended)
    names = fill(worker, 200)
    while worker.channel._helpings.more() == 0:
        worker.take()

    def stop(message: Any) -> None:
        message.ack()
        if worker.channel._taken:
            worker.consumer.cancel()

    worker.work = stop
    while worker.channel.active_queues:
        worker.connection.drain_events(timeout=10)
    left = broker.lrange(worker.settings.tick_queue, 0, -1)
    in_hand = 200 - len(worker.done) - len(left)
    assert 0 <= in_hand <= 1  # the answer to the request itself, which the sweep finds
    assert len(set(worker.done)) == len(worker.done)
    assert names[0] == worker.done[0]


def test_follow_ups_of_several_leave_together(worker: Worker, broker: Redis, clock: Clock) -> None:
    worker.work = publishing(worker, lambda message: [follow_up(message)])
    fill(worker, 40)
    broker.config_resetstat()
    while len(worker.done) < 400:
        worker.take()
    assert requests(broker) < 200
    versions = dict.fromkeys((run_id for run_id, _ in worker.done), 0)
    for run_id, version in worker.done:
        assert version == versions[run_id] + 1
        versions[run_id] = version
