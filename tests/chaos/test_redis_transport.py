"""The broker's URL stays what it was, although the transport is ours."""

from __future__ import annotations

import pytest

from workers.celery_app import make_celery
from workers.redis_transport import transport_for
from workers.settings import load_settings


@pytest.mark.parametrize("url", ["redis://:secret@broker.test:6380/3", "rediss://:secret@broker.test:6380/3"])
def test_logs_and_flower_see_the_brokers_own_url(url: str) -> None:
    connection = make_celery(load_settings(redis_url=url, broker_url=None)).connection_for_write()
    assert connection.as_uri(include_password=True) == url
    assert connection.clone().as_uri(include_password=True) == url
    assert type(connection.transport).__module__ == "workers.redis_transport"


def test_other_brokers_keep_their_transport() -> None:
    assert transport_for("amqp://guest@localhost//") is None
    assert transport_for("unix:///tmp/redis.sock") is None
