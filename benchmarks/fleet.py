"""Real servers and worker processes for one measurement; everything started here is ended here."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from redis import Redis

from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer, ValkeyServer
from workers.client import Client
from workers.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parent.parent
APP = "benchmarks.flows:app"


@dataclass
class Fleet:
    """A running fleet: its settings, a client, and its worker processes."""

    settings: Settings
    client: Client
    workers: list[subprocess.Popen[bytes]]
    broker: Redis

    def resident_mib(self) -> float:
        """Memory of all worker processes, in MiB."""
        return sum(self.resident_each_mib())

    def resident_each_mib(self) -> list[float]:
        """Memory of each worker process, in MiB."""
        return [psutil.Process(worker.pid).memory_info().rss / 2**20 for worker in self.workers]

    def broker_depth(self) -> tuple[int, int]:
        """Messages in the queues, and messages that workers hold without having done them."""
        queues = (self.settings.tick_queue, self.settings.effect_queue)
        return sum(int(self.broker.llen(queue)) for queue in queues), int(self.broker.hlen("unacked"))


@contextmanager
def servers() -> Iterator[tuple[ValkeyServer, PostgresServer]]:
    """A Valkey and a PostgreSQL that syncs its commits to disk."""
    with ValkeyServer(config={"databases": "128"}) as valkey, PostgresServer(durable=True) as postgres:
        yield valkey, postgres


def environment(redis_url: str, **variables: str) -> dict[str, str]:
    """What a worker process needs to know."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "REDIS_URL": redis_url, **variables}


@contextmanager
def celery_workers(
    app: str, queue: str, env: dict[str, str], *, pool: str, processes: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """``processes`` that execute tasks: one worker (prefork, threads), or that many solo workers."""
    is_one = pool != "solo"
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", app, "worker", "-Q", queue, "-P", pool]
    command += ["-c", str(processes if is_one else 1), "--without-gossip", "--without-mingle", "-l", "error"]
    command += ["--without-heartbeat"]
    workers = []
    try:
        for index in range(1 if is_one else processes):
            name = ["-n", f"bench-{pool}{index}@{os.getpid()}"]
            workers.append(
                subprocess.Popen(
                    [*command, *name],
                    env=env,
                    cwd=ROOT,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
            )
        yield workers
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()


@contextmanager
def beat(env: dict[str, str], folder: str) -> Iterator[None]:
    """The pulse of a fleet."""
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "workers", "beat", "-l", "error"]
    command += ["-s", f"{folder}/beat", "--pidfile", ""]
    process = subprocess.Popen(
        command, env=env, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


@contextmanager
def fleet(
    database: str,
    valkey: ValkeyServer,
    postgres: PostgresServer,
    *,
    max_steps: int,
    db: int,
    ticks: int = 2,
    effects: int = 0,
    pulse: bool = False,
) -> Iterator[Fleet]:
    """A fleet of ``ticks`` solo tick processes on ``database`` ("sqlite" or "postgresql"), with one process
    of ``effects`` threads for effects, and a beat if it needs a ``pulse``."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/runs.db"
        if database == "postgresql":
            url = create_database(postgres.url, f"bench_{db}_{max_steps}_{time.time_ns()}")
        redis_url = valkey.url_for(db)
        settings = load_settings(app=APP, database_url=url, redis_url=redis_url, tick_max_steps=max_steps)
        store = open_database(url)
        upgrade(store)
        store.close()
        env = environment(
            redis_url,
            DATABASE_URL=url,
            ABSTRACTRUNTIME_APP=APP,
            ABSTRACTRUNTIME_TICK_MAX_STEPS=str(max_steps),
        )
        with ExitStack() as ending:
            workers = ending.enter_context(
                celery_workers("workers", settings.tick_queue, env, pool="solo", processes=ticks)
            )
            if effects:
                ending.enter_context(
                    celery_workers("workers", settings.effect_queue, env, pool="threads", processes=effects)
                )
            if pulse:
                ending.enter_context(beat(env, folder))
            client = ending.enter_context(Client(APP, settings=settings))
            _wait_until_ready(client, ticks)
            yield Fleet(settings, client, workers, Redis.from_url(redis_url))


def _wait_until_ready(client: Client, processes: int) -> None:
    """All processes have imported, connected and taken steps: some rounds of small runs have ended."""
    for _ in range(3):
        started = [client.start("chain", {"steps": 20}) for _ in range(8 * processes)]
        for run_id in started:
            client.wait(run_id, timeout=60)
