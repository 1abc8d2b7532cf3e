"""What the fleet's messages are in Redis, and what becomes of those that a worker has taken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from kombu import Connection, Consumer, Queue
from redis import Redis

from abstractruntime.storage.checkpoints import Task
from abstractruntime.testing.servers import ValkeyServer
from workers.celery_app import make_celery
from workers.dispatch import CeleryDispatcher
from workers.hints import Hint
from workers.settings import Settings

HINT = Hint(Task.TICK, "r1", 7, "node", "flow")


class Taker:
    """A consumer that keeps what it takes, as a worker does while it works."""

    def __init__(self, celery: Celery, queue: str) -> None:
        self.taken: list[Any] = []
        self.connection: Connection = celery.connection_for_read()
        self.channel = self.connection.channel()
        self._consumer = Consumer(
            self.channel,
            [Queue(queue, no_declare=True)],
            on_message=self.taken.append,
            auto_declare=False,
        )
        self._consumer.consume()

    def take(self, number: int = 1) -> list[Any]:
        wanted = len(self.taken) + number
        while len(self.taken) < wanted:
            self.connection.drain_events(timeout=10)
        return self.taken[-number:]


@pytest.fixture
def settings(redis_url: str) -> Settings:
    return Settings(redis_url=redis_url, broker_url=None, publish_timeout=0.5)


@pytest.fixture
def broker(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@contextmanager
def taking(settings: Settings) -> Iterator[tuple[Taker, Callable[..., None]]]:
    celery = make_celery(settings)
    dispatcher = CeleryDispatcher(celery, settings)
    taker = Taker(celery, settings.tick_queue)
    try:
        yield taker, lambda *hints: dispatcher.send(hints)
    finally:
        taker.connection.release()
        dispatcher.close()


def waiting(broker: Redis, settings: Settings) -> list[dict[str, Any]]:
    """The queue, the next message first."""
    return [json.loads(entry) for entry in reversed(broker.lrange(settings.tick_queue, 0, -1))]


def test_a_hint_is_a_celery_message(settings: Settings, broker: Redis) -> None:
    with taking(settings) as (taker, send):
        send(HINT)
        (message,) = taker.take()
        reference = make_celery(settings).amqp.as_task_v2(
            "id", "abstractruntime.tick", ("r1", 7), {"node": "node", "workflow": "flow", "first": True}
        )
        assert message.content_type == "application/json"
        assert message.payload == json.loads(json.dumps(reference.body))
        assert message.headers.keys() <= reference.headers.keys() | {"redelivered"}
        assert message.headers["task"] == "abstractruntime.tick"
        assert message.headers["argsrepr"] == "('r1', 7)"
        assert message.properties["correlation_id"] == message.headers["id"]
        assert message.delivery_info["routing_key"] == settings.tick_queue


def test_hints_of_one_send_come_in_order_and_by_queue(settings: Settings, broker: Redis) -> None:
    with taking(settings) as (taker, send):
        send(
            *(Hint(Task.TICK, f"r{n}", 1, "n", "w") for n in range(250)), Hint(Task.EFFECT, "e", 1, "n", "w")
        )
        assert [message.payload[0][0] for message in taker.take(250)] == [f"r{n}" for n in range(250)]
    assert broker.llen(settings.effect_queue) == 1


def test_a_taken_hint_is_remembered_by_its_worker_alone(settings: Settings, broker: Redis) -> None:
    with taking(settings) as (taker, send):
        send(HINT)
        (message,) = taker.take()
        assert broker.keys("*") == []
        message.ack()
        taker.channel.close()
    assert waiting(broker, settings) == []


def test_who_closes_his_channel_puts_back_what_he_had_taken(settings: Settings, broker: Redis) -> None:
    with taking(settings) as (taker, send):
        send(HINT, HINT, Hint(Task.TICK, "r2", 1, "n", "w"))
        first, *_ = taker.take(2)
        first.ack()
        taker.channel.close()
    assert [entry["headers"].get("redelivered") for entry in waiting(broker, settings)] == [True, None]
    assert [json.loads(entry["body"])[0] for entry in waiting(broker, settings)] == [["r1", 7], ["r2", 1]]


@pytest.mark.parametrize("requeue", [True, False])
def test_a_rejected_hint_goes_back_if_it_is_to(settings: Settings, broker: Redis, requeue: bool) -> None:
    with taking(settings) as (taker, send):
        send(HINT)
        (message,) = taker.take()
        message.reject(requeue=requeue)
        assert len(waiting(broker, settings)) == requeue
        taker.channel.close()
    assert len(waiting(broker, settings)) == requeue


def test_what_is_held_for_long_or_is_no_hint_stays_with_the_broker(settings: Settings, broker: Redis) -> None:
    with taking(settings) as (taker, send):
        send(Hint(Task.TICK, "timer", 1, "n", "w", delay_s=20.0))
        make_celery(settings).send_task("reports.print", queue=settings.tick_queue)
        timer, other = taker.take(2)
        assert set(broker.hkeys("unacked")) == {timer.delivery_tag, other.delivery_tag}
        other.ack()
        assert broker.hkeys("unacked") == [timer.delivery_tag]
        taker.channel.close()
        assert broker.hkeys("unacked") == []
    assert [entry["headers"]["task"] for entry in waiting(broker, settings)] == ["abstractruntime.tick"]


def test_a_broker_that_is_away_does_not_keep_a_worker_from_closing(caplog: pytest.LogCaptureFixture) -> None:
    with ValkeyServer() as server:
        settings = Settings(redis_url=server.url, broker_url=None, publish_timeout=0.5)
        with taking(settings) as (taker, send):
            send(HINT)
            taker.take()
            server.kill()
            taker.channel.close()
    assert "left to the sweep" in caplog.text
