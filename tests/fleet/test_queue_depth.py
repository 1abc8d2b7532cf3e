"""What a publisher knows of its queues: cheap, a little old, and enough to keep them below their mark."""

from __future__ import annotations

import pytest

from abstractruntime.storage.checkpoints import Task
from workers import queue_depth
from workers.celery_app import make_celery
from workers.dispatch import CeleryDispatcher
from workers.hints import Hint
from workers.queue_depth import QueueDepth
from workers.settings import Settings


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(queue_depth, "monotonic", made)
    return made


def test_publishers_stop_near_the_mark_and_look_seldom(clock: Clock) -> None:
    queue, looks = [0], [0]

    def measure(task: Task) -> int:
        looks[0] += 1
        return queue[0]

    publishers = [QueueDepth(1000, measure) for _ in range(4)]
    for _ in range(3000):
        for publisher in publishers:
            if publisher.has_room_for_one(Task.TICK):
                queue[0] += 1
    assert 1000 <= queue[0] <= 1000 + 4
    assert looks[0] < 400
    assert all(publisher.is_full(Task.TICK) for publisher in publishers)
    assert not publishers[0].is_full(Task.EFFECT)
    queue[0] = 0
    clock.now += 0.2
    assert publishers[0].has_room_for_one(Task.TICK)
    assert not publishers[0].is_full(Task.TICK)


def test_what_is_known_grows_old(clock: Clock) -> None:
    depth = QueueDepth(10, lambda task: 10)
    assert not depth.has_room_for_one(Task.TICK)
    assert depth.is_full(Task.TICK)
    clock.now += 2.0
    assert not depth.is_full(Task.TICK)  # nobody knows


@pytest.mark.parametrize("kind", ["redis", "memory"])
def test_the_broker_is_asked(kind: str, request: pytest.FixtureRequest) -> None:
    broker = request.getfixturevalue("redis_url") if kind == "redis" else "memory://"
    settings = Settings(broker_url=broker, queue_limit=3, prefix=f"depth-{kind}")
    dispatcher = CeleryDispatcher(make_celery(settings), settings)
    assert not dispatcher.is_full(Task.TICK, look=True)  # no queue yet
    if kind == "memory":
        dispatcher._producer().channel.queue_declare(settings.tick_queue)
    hints = [Hint(Task.TICK, f"r{n}", 1, "n", "w") for n in range(6)]
    dispatcher.send(hints)
    assert dispatcher._measure(Task.TICK) == 3
    assert dispatcher.is_full(Task.TICK, look=True)
    assert not dispatcher.is_full(Task.EFFECT, look=True)
    dispatcher.send([Hint(Task.TICK, "r", 2, "n", "w", takes_room=False)])
    assert dispatcher._measure(Task.TICK) == 4
    dispatcher.close()


def test_a_broker_that_is_away_takes_nothing() -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0", publish_timeout=0.2)
    dispatcher = CeleryDispatcher(make_celery(settings), settings)
    assert not dispatcher.is_full(Task.TICK)
    assert dispatcher.is_full(Task.TICK, look=True)
