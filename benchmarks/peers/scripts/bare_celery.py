"""Bare Celery, the floor: what a broker hop and a durable step cost with nothing around them.

`hop`: a no-op that enqueues itself again. `step`: SELECT the run, then UPDATE it and INSERT a record as one
statement in autocommit, `per_task` times, then enqueue itself again; one psycopg connection per process,
statements prepared. Both count their ends in Redis.

Settings, as Celery's guides on optimizing and on Redis have them for short tasks that must not be lost: no
results, late acknowledgement, prefetch 1 with prefork; without gossip, mingle and heartbeats.
"""

import os

import psycopg
from celery import Celery
from redis import Redis

app = Celery("bare", broker=os.environ["REDIS_URL"], set_as_current=False)
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    task_default_queue="bare",
    broker_connection_retry_on_startup=True,
)

SELECT = "SELECT version, state FROM runs WHERE run_id = %s"
STEP = """
WITH moved AS (
    UPDATE runs SET version = version + 1, state = %s WHERE run_id = %s AND version = %s
    RETURNING run_id, version
)
INSERT INTO ledger (run_id, version, record) SELECT run_id, version, %s FROM moved
"""
TABLES = """
CREATE TABLE runs (run_id bigint PRIMARY KEY, version int NOT NULL, state text NOT NULL)
    WITH (fillfactor = 50);
CREATE TABLE ledger (run_id bigint, version int, record text NOT NULL, PRIMARY KEY (run_id, version));
"""

_opened = {}


def connection():
    """This process's connection to PostgreSQL."""
    if os.getpid() not in _opened:
        opened = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
        opened.prepare_threshold = 0
        _opened[os.getpid()] = opened
    return _opened[os.getpid()]


def redis():
    """This process's connection to Redis."""
    key = ("redis", os.getpid())
    if key not in _opened:
        _opened[key] = Redis.from_url(os.environ["REDIS_URL"])
    return _opened[key]


@app.task(name="bare.hop")
def hop(left):
    """One hop of a chain; the last one is counted."""
    if left > 1:
        hop.delay(left - 1)
    else:
        redis().incr("bare:ended")


@app.task(name="bare.step")
def step(run_id, left, per_task):
    """Up to `per_task` durable steps of a run; the last task is counted."""
    version, state = connection().execute(SELECT, (run_id,)).fetchone()
    for _ in range(min(left, per_task)):
        record = f'{{"n": {version}, "text": "step {version}"}}'
        connection().execute(STEP, (state[:400] + record, run_id, version, record))
        version, left = version + 1, left - 1
    if left:
        step.delay(run_id, left, per_task)
    else:
        redis().incr("bare:ended")
