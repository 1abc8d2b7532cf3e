"""Waiting for the end of runs: by announcement within milliseconds, by looking when Redis is away."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from abstractruntime.app import App
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.servers import ValkeyServer
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers.aio_client import AsyncClient
from workers.celery_app import make_celery
from workers.client import Client
from workers.dispatch import CeleryDispatcher
from workers.hints import Hint, Message
from workers.settings import Settings


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    prefix = f"t{os.getpid()}-{time.monotonic_ns()}"
    return Settings(database_url=database_url, redis_url=redis_url, publish_timeout=0.5, prefix=prefix)


class LoudPump(Pump):
    """Announces the ends of runs through Redis, as workers do."""

    def __init__(self, settings: Settings, app: App, store: SqlCheckpointStore) -> None:
        super().__init__(settings, app, store)
        self.announcer = CeleryDispatcher(make_celery(settings), settings)

    def send(self, messages: list[Message]) -> None:  # type: ignore[override]
        super().send(messages)
        self.announcer.send([message for message in messages if not isinstance(message, Hint)])


@pytest.fixture
def loud(settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore) -> Iterator[LoudPump]:
    pump = LoudPump(settings, fleet_app, fleet_store)
    yield pump
    pump.announcer.close()


@pytest.fixture
def waiting_client(
    settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore, loud: LoudPump
) -> Iterator[Client]:
    with Client(fleet_app, settings=settings, store=fleet_store, dispatcher=loud) as opened:
        yield opened


def _in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_an_ended_run_is_given_at_once(waiting_client: Client, loud: LoudPump) -> None:
    run_id = waiting_client.start("add", {"a": 1})
    loud.run()
    assert waiting_client.wait(run_id, timeout=0).output == {"sum": 1}


def test_waiting_gives_up_in_time(waiting_client: Client) -> None:
    run_id = waiting_client.start("add")
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"is running after 0\.3 s"):
        waiting_client.wait(run_id, timeout=0.3)
    assert time.monotonic() - began < 4.0  # not at the next look at the row, after five seconds


def test_the_end_is_known_within_milliseconds(waiting_client: Client, loud: LoudPump) -> None:
    delays = []
    for n in range(10):
        run_id = waiting_client.start("add", {"a": n})
        ended_at: list[float] = []
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(waiting_client.wait, run_id, 20)
            eventually(lambda: waiting_client.endings.pause_s > 1.0)
            loud.run()
            ended_at.append(time.monotonic())
            assert waiting.result().output == {"sum": n}
        delays.append(time.monotonic() - ended_at[0])
    # The median: the machine may be busy. A poll would need more than a second.
    assert sorted(delays)[5] < 0.5


def test_many_waiters_share_one_connection(waiting_client: Client, loud: LoudPump) -> None:
    ids = [waiting_client.start("add", {"a": n}) for n in range(30)]
    before = threading.active_count()
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(waiting_client.wait, run_id, 30) for run_id in ids * 2]
        eventually(lambda: waiting_client.endings.pause_s > 1.0)
        loud.run()
        assert all(one.result().status is RunStatus.COMPLETED for one in waiting)
    eventually(lambda: threading.active_count() <= before + 1, message="one subscription thread is left")


def test_a_quiet_subscription_is_not_cut(waiting_client: Client, loud: LoudPump) -> None:
    """redis-py 8 would cut it after five seconds."""
    run_id = waiting_client.start("add")
    lost: list[float] = []
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waiting_client.wait, run_id, 30)
        eventually(lambda: waiting_client.endings.pause_s > 1.0)
        quiet_until = time.monotonic() + 6.5

        def still_connected() -> bool:
            if waiting_client.endings.pause_s < 1.0:
                lost.append(time.monotonic())
            return time.monotonic() > quiet_until

        eventually(still_connected, timeout=10)
        loud.run()
        assert waiting.result().is_terminal
    assert lost == []


def test_without_redis_it_looks_by_itself(client: Client, pump: Pump) -> None:
    run_id = client.start("add")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.wait, run_id, 20)
        pump.run()
        assert waiting.result(timeout=5).is_terminal


@pytest.mark.chaos
def test_redis_dies_and_comes_back_while_somebody_waits(
    waiting_client: Client, loud: LoudPump, valkey_server: ValkeyServer
) -> None:
    if os.environ.get("REDIS_URL"):
        pytest.skip("needs a server of its own")
    first, second = waiting_client.start("add"), waiting_client.start("add", {"a": 1})
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(waiting_client.wait, first, 60)
        eventually(lambda: waiting_client.endings.pause_s > 1.0)
        valkey_server.kill()
        eventually(lambda: waiting_client.endings.pause_s < 1.0, message="the loss is noticed")
        also_waiting = pool.submit(waiting_client.wait, second, 60)
        valkey_server.ensure_running()
        eventually(lambda: waiting_client.endings.pause_s > 1.0, timeout=20, message="connected again")
        loud.run()
        assert waiting.result(timeout=10).is_terminal
        assert also_waiting.result(timeout=10).is_terminal


async def test_coroutines_wait_without_threads(settings: Settings, fleet_app: App, loud: LoudPump) -> None:
    store = loud.deployment.store
    assert isinstance(store, SqlCheckpointStore)
    async with AsyncClient(fleet_app, settings=settings, store=store, dispatcher=loud) as client:
        ids = [await client.start("add", {"a": n}) for n in range(100)]
        waiting = [asyncio.create_task(client.wait(run_id, timeout=60)) for run_id in ids]
        while client.sync.endings.pause_s < 1.0:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(loud.run)
        runs = await asyncio.gather(*waiting)
        assert [run.output for run in runs] == [{"sum": n} for n in range(100)]
        with pytest.raises(TimeoutError):
            await client.wait(await client.start("ask"), timeout=0.2)
