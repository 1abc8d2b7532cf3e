"""What a task publishes about its own run leaves with its worker's next request, and is lost with neither."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from abstractruntime.storage.checkpoints import Task
from tests.fleet.consuming import Worker, follow_up, publishing
from workers import metrics
from workers.carried import carried_by_this_thread
from workers.hints import Announcement, Hint
from workers.settings import Settings

PREFIX = "carried"


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, broker_url=None, prefix=PREFIX, publish_timeout=0.5)


@pytest.fixture
def broker(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def worker(settings: Settings) -> Iterator[Worker]:
    made = Worker(settings)
    yield made
    made.close()


@contextmanager
def commands(broker: Redis) -> Iterator[Callable[[], dict[str, int]]]:
    broker.config_resetstat()

    def counted() -> dict[str, int]:
        stats = broker.info("commandstats")
        return {name.removeprefix("cmdstat_"): stat["calls"] for name, stat in stats.items()}

    yield counted


def test_follow_ups_leave_with_the_next_request(worker: Worker, broker: Redis) -> None:
    worker.work = publishing(worker, lambda message: [follow_up(message)])
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    assert broker.llen(worker.settings.tick_queue) == 0
    with commands(broker) as counted:
        assert [worker.take() for _ in range(5)] == [("r", n) for n in range(2, 7)]
        assert {"lpush": 5, "brpop": 5}.items() <= counted().items()


def test_announcements_do_too(worker: Worker, broker: Redis) -> None:
    worker.work = publishing(worker, lambda message: [Announcement(message.payload[0][0])])
    heard = broker.pubsub(ignore_subscribe_messages=True)
    heard.subscribe(worker.settings.ended_channel + "r")
    worker.dispatcher.send([Hint(Task.TICK, name, 1, "n", "w") for name in ("r", "s")])
    assert [worker.take(), worker.take()] == [("r", 1), ("s", 1)]
    found = [message for _ in range(10) if (message := heard.get_message(timeout=1))]
    heard.close()
    assert [message["data"] for message in found] == ["ended"]


@pytest.mark.parametrize(
    "hint",
    [
        Hint(Task.TICK, "other", 1, "n", "w"),
        Hint(Task.TICK, "swept", 1, "n", "w", takes_room=False, first=False),
    ],
    ids=["makes the queue longer", "from a sweep"],
)
def test_what_is_not_about_the_tasks_own_run_leaves_at_once(
    worker: Worker, broker: Redis, hint: Hint
) -> None:
    seen: list[int] = []

    def work(message: Any) -> None:
        worker.dispatcher.send([hint])
        seen.append(broker.llen(worker.settings.tick_queue))
        message.ack()

    worker.work = work
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    assert seen == [1]


def test_other_threads_publish_for_themselves(worker: Worker, broker: Redis) -> None:
    seen: list[object] = []

    def work(message: Any) -> None:
        def elsewhere() -> None:
            seen.append(carried_by_this_thread())
            worker.dispatcher.send([follow_up(message)])

        thread = Thread(target=elsewhere)
        thread.start()
        thread.join()
        seen.append(broker.llen(worker.settings.tick_queue))
        message.ack()

    worker.work = work
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    assert seen == [None, 1]


def test_who_stops_asking_sends_what_is_left(worker: Worker, broker: Redis) -> None:
    worker.work = publishing(worker, lambda message: [follow_up(message)])
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    worker.consumer.cancel()
    assert broker.llen(worker.settings.tick_queue) == 1
    assert carried_by_this_thread(also_idle=True) is not None
    assert len(carried_by_this_thread(also_idle=True) or ()) == 0


def test_who_may_not_take_more_sends_what_is_left(worker: Worker, broker: Redis) -> None:
    worker.channel.basic_qos(prefetch_count=1)
    worker.work = lambda message: worker.dispatcher.send([follow_up(message)])  # never acknowledged
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    with pytest.raises(TimeoutError):
        worker.connection.drain_events(timeout=0.1)
    assert broker.llen(worker.settings.tick_queue) == 1


@pytest.mark.parametrize("moment", ["before the request", "before the answer"])
def test_a_lost_connection_loses_nothing(worker: Worker, broker: Redis, moment: str) -> None:
    worker.work = publishing(worker, lambda message: [follow_up(message)])
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w")])
    worker.take()
    if moment == "before the answer":
        worker.connection.transport.cycle.on_poll_start()
    broker.client_kill_filter(_type="normal", skipme=True)
    with pytest.raises((RedisConnectionError, OSError)):
        worker.drain()
    worker.connection.release()
    worker.connect()
    assert ("r", 2) in worker.done or worker.take() == ("r", 2)


def test_what_the_broker_refuses_is_counted_and_the_worker_goes_on(
    worker: Worker, broker: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    worker.work = publishing(worker, lambda message: [follow_up(message)])
    worker.dispatcher.send([Hint(Task.TICK, "r", 1, "n", "w"), Hint(Task.TICK, "s", 1, "n", "w")])
    assert worker.take() == ("r", 1)
    unsent = metrics.snapshot().get("hints_unsent", 0)
    broker.config_set("maxmemory", 1)
    try:
        worker.work = lambda message: message.ack()
        assert worker.take() == ("s", 1)
    finally:
        broker.config_set("maxmemory", 0)
    assert "broker refused a hint" in caplog.text
    assert metrics.snapshot()["hints_unsent"] == unsent + 1
    assert broker.llen(worker.settings.tick_queue) == 0
