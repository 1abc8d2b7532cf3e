"""Steps per second of the fleet, and hops per second of bare Celery: the floor of the same run."""

from __future__ import annotations

import time

from celery import Celery
from redis import Redis

from abstractruntime.testing.servers import PostgresServer, ValkeyServer

from .fleet import celery_workers, environment, fleet

CHAINS = 100


def floor(valkey: ValkeyServer, *, pool: str, db: int, hops: int) -> float:
    """Hops/s of 100 chains of a no-op that re-enqueues itself, two processes."""
    url = valkey.url_for(db)
    with celery_workers("benchmarks.noop", "floor", environment(url), pool=pool, processes=2):
        _run_chains(url, 2)  # both processes are up and warm
        started = time.perf_counter()
        _run_chains(url, hops)
        return CHAINS * (hops + 1) / (time.perf_counter() - started)


def _run_chains(url: str, hops: int) -> None:
    sender = Celery("floor-sender", broker=url, set_as_current=False)
    ended = Redis.from_url(url)
    ended.delete("floor:done")
    for chain in range(CHAINS):
        sender.send_task("floor.hop", (chain, hops), queue="floor", ignore_result=True)
    while int(ended.get("floor:done") or 0) < CHAINS:
        time.sleep(0.01)


def steps_per_second(
    database: str, valkey: ValkeyServer, postgres: PostgresServer, *, max_steps: int, db: int, steps: int
) -> float:
    """Steps/s of 100 runs of ``steps`` effect steps each, two tick processes."""
    with fleet(database, valkey, postgres, max_steps=max_steps, db=db) as running:
        started = time.perf_counter()
        runs = running.client.start_many("chain", [{"steps": steps}] * CHAINS)
        for run_id in runs:
            running.client.wait(run_id, timeout=300)
        return CHAINS * steps / (time.perf_counter() - started)
