"""The floor: a bare Celery task that does nothing but enqueue itself again."""

from __future__ import annotations

import os

from celery import Celery
from redis import Redis

app = Celery("floor", broker=os.environ["REDIS_URL"], set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    task_default_queue="floor",
    broker_connection_retry_on_startup=True,
)


@app.task(name="floor.hop")
def hop(chain: int, left: int) -> None:
    """One hop of a chain; the last one is counted."""
    if left:
        hop.delay(chain, left - 1)
    else:
        Redis.from_url(os.environ["REDIS_URL"]).incr("floor:done")
