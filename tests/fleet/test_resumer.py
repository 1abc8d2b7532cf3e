"""Resumers: what is published wakes runs; once, however many of them there are, whatever Redis does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.servers import PostgresServer, ValkeyServer
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers import metrics
from workers.client import Client
from workers.resumer import Resumer
from workers.settings import Settings

KEY = "evt:session:s1:paid"


@pytest.fixture
def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        redis_url=redis_url,
        publish_timeout=0.5,
        sweep_interval=0.1,
        prefix=f"t{os.getpid()}-{time.monotonic_ns()}",
    )


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def fleet_settings(settings: Settings) -> Settings:
    return settings


class Resumers:
    """Some resumers of this process."""

    def __init__(self, settings: Settings, store: SqlCheckpointStore, pump: Pump) -> None:
        self._make = lambda: Resumer(settings, store, pump, lease_s=0.6, take_over_s=0.5)
        self.all: list[Resumer] = []

    def start(self, count: int) -> list[Resumer]:
        started = [self._make() for _ in range(count)]
        self.all += started
        for one in started:
            one.start()
        eventually(lambda: all(one.is_listening for one in started))
        self.settle()
        return started

    def settle(self) -> Resumer:
        """Wait until exactly one is active."""
        eventually(lambda: sum(one.is_active for one in self.all) == 1, message="one active resumer")
        return next(one for one in self.all if one.is_active)

    def stop(self, one: Resumer) -> None:
        self.all.remove(one)
        one.close()


@pytest.fixture
def resumers(settings: Settings, fleet_store: SqlCheckpointStore, pump: Pump) -> Iterator[Resumers]:
    made = Resumers(settings, fleet_store, pump)
    yield made
    with ThreadPoolExecutor(10) as pool:
        list(pool.map(Resumer.close, made.all))


@pytest.fixture
def publish(redis: Redis, settings: Settings) -> Callable[..., int]:
    def send(message: object, *, wait_key: str = KEY) -> int:
        data = message if isinstance(message, (str, bytes)) else json.dumps(message)
        heard: Any = redis.publish(settings.event_channel + wait_key, data)
        return int(heard)

    return send


def _inbox(store: SqlCheckpointStore) -> list[Any]:
    """Payloads of all accepted events, in order."""
    with store.database.engine.connect() as connection:
        rows = connection.execute(text("SELECT payload_json FROM events ORDER BY seq")).fetchall()
    return [json.loads(row[0]) for row in rows]


def _listener(client: Client, pump: Pump, wait: dict[str, Any] | None = None) -> str:
    run_id = client.start("listen", {"listen": wait} if wait else None)
    pump.run()
    assert client.get(run_id).status is RunStatus.WAITING
    return run_id


def _event(client: Client, pump: Pump, run_id: str) -> Any:
    def ended() -> bool:
        pump.run()  # again and again: the resumer publishes a moment after its commit can be seen
        return client.get(run_id).output is not None

    eventually(ended)
    output = client.get(run_id).output
    assert output is not None
    return output["event"]


def _settled(store: SqlCheckpointStore, count: int) -> list[Any]:
    """The inbox once it has ``count`` events; more would be a double delivery."""
    eventually(lambda: len(_inbox(store)) >= count, timeout=20)
    return _inbox(store)


# -- pub/sub --------------------------------------------------------------------------------------


def test_a_published_message_wakes_the_run(
    client: Client, pump: Pump, resumers: Resumers, publish: Callable[..., int]
) -> None:
    resumers.start(1)
    run_id = _listener(client, pump)
    assert publish({"amount": 3}) == 1
    assert _event(client, pump, run_id) == {"amount": 3}


def test_an_envelope_with_a_name_reaches_wildcard_listeners_too(
    client: Client, pump: Pump, resumers: Resumers, publish: Callable[..., int]
) -> None:
    resumers.start(1)
    named = _listener(client, pump)
    wild = _listener(client, pump, {"name": "*", "session_id": "s1"})
    publish({"event_id": "e1", "name": "paid", "payload": {"n": 1}})
    for run_id in (named, wild):
        event = _event(client, pump, run_id)
        assert (event["event_id"], event["name"], event["payload"]) == ("e1", "paid", {"n": 1})


def test_a_message_before_the_wait_is_kept(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    publish: Callable[..., int],
    fleet_store: SqlCheckpointStore,
) -> None:
    resumers.start(1)
    run_id = client.start("listen")
    publish({"early": True})
    _settled(fleet_store, 1)
    pump.run()
    assert client.get(run_id).output == {"event": {"early": True}}


def test_ten_resumers_deliver_each_message_once(
    resumers: Resumers, publish: Callable[..., int], fleet_store: SqlCheckpointStore
) -> None:
    """Two equal messages are two events; the same event id is one, however often it is published."""
    resumers.start(10)
    for n in range(20):
        assert publish({"n": n // 2}) == 10
    for _ in range(3):
        publish({"event_id": "same", "payload": "once"})
    publish({"event_id": "last", "payload": "end"})
    eventually(lambda: "end" in _inbox(fleet_store), timeout=30)
    inbox = _settled(fleet_store, 22)
    assert [payload["n"] for payload in inbox if isinstance(payload, dict)] == [n // 2 for n in range(20)]
    assert inbox.count("once") == 1
    assert len(inbox) == 22


def test_nothing_is_lost_or_doubled_when_the_active_one_leaves(
    resumers: Resumers, publish: Callable[..., int], fleet_store: SqlCheckpointStore
) -> None:
    resumers.start(4)
    sent = 0
    for _ in range(3):
        active = resumers.settle()
        leaving = Thread(target=resumers.stop, args=(active,))
        leaving.start()
        while leaving.is_alive():
            publish({"n": sent})
            sent += 1
            time.sleep(0.002)
        leaving.join()
    resumers.settle()
    publish({"n": sent})
    sent += 1
    inbox = _settled(fleet_store, sent)
    assert sorted(payload["n"] for payload in inbox) == list(range(sent))


def test_flushed_redis_changes_nothing(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    publish: Callable[..., int],
    redis: Redis,
    settings: Settings,
    fleet_store: SqlCheckpointStore,
) -> None:
    resumers.start(3)
    publish({"n": 0})
    redis.flushdb()
    for n in range(1, 20):
        publish({"n": n})
        if n == 10:
            redis.flushdb()
    inbox = _settled(fleet_store, 20)
    # In any order: the flush takes the election's lease away too, and the next one elected may deliver what
    # comes now while the last one still delivers what came before.
    assert sorted(payload["n"] for payload in inbox) == list(range(20))
    eventually(lambda: redis.exists(settings.event_stream), message="the stream's group is made again")
    redis.xadd(settings.event_stream, {"wait_key": KEY, "payload": '"streamed"'})
    assert _settled(fleet_store, 21)[-1] == "streamed"


def test_bad_messages_are_counted_and_passed_over(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    publish: Callable[..., int],
    redis: Redis,
    settings: Settings,
) -> None:
    resumers.start(2)
    run_id = _listener(client, pump)

    def refused(source: str) -> int:
        return metrics.snapshot().get(f"events_refused{{source={source}}}", 0)

    before = refused("published"), refused("stream")
    bad: list[object] = ["no json", b"\xff\xfe", "NaN", '{"a": ' + '"x"' * 10, "[" * 5000, "1" * 2_000_000]
    bad += [{"event_id": 7, "payload": 1}, {"event_id": "x" * 300, "payload": 1}]
    for message in bad:
        publish(message)
    publish({"n": 1}, wait_key="k" * 700)
    redis.xadd(settings.event_stream, {"payload": "1"})
    redis.xadd(settings.event_stream, {"wait_key": KEY, "payload": "no json"})
    publish({"good": True})
    assert _event(client, pump, run_id) == {"good": True}
    eventually(lambda: refused("published") - before[0] == len(bad) + 1)
    eventually(lambda: refused("stream") - before[1] == 2)
    eventually(lambda: redis.xlen(settings.event_stream) == 0)


# -- stream ---------------------------------------------------------------------------------------


def test_stream_entries_are_delivered_once_and_removed(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    redis: Redis,
    settings: Settings,
    fleet_store: SqlCheckpointStore,
) -> None:
    # Before there is any resumer: the stream keeps it.
    redis.xadd(settings.event_stream, {"wait_key": KEY, "payload": "0"})
    resumers.start(4)
    run_id = _listener(client, pump, {"wait_key": "order:1"})
    for n in range(1, 20):
        redis.xadd(settings.event_stream, {"wait_key": KEY, "payload": str(n)})
    for _ in range(3):
        redis.xadd(
            settings.event_stream, {"wait_key": "order:1", "payload": '{"paid": true}', "event_id": "mine"}
        )
    assert _event(client, pump, run_id) == {"paid": True}
    inbox = _settled(fleet_store, 21)
    assert sorted(payload for payload in inbox if isinstance(payload, int)) == list(range(20))
    assert len(inbox) == 21
    eventually(lambda: redis.xlen(settings.event_stream) == 0)
    assert redis.xpending(settings.event_stream, "resumers")["pending"] == 0


def test_entries_of_a_dead_resumer_are_taken_over(
    resumers: Resumers, redis: Redis, settings: Settings, fleet_store: SqlCheckpointStore
) -> None:
    redis.xgroup_create(settings.event_stream, "resumers", id="0", mkstream=True)
    redis.xadd(settings.event_stream, {"wait_key": KEY, "payload": '"orphan"'})
    assert redis.xreadgroup("resumers", "dead", {settings.event_stream: ">"})
    resumers.start(2)
    assert _settled(fleet_store, 1) == ["orphan"]
    eventually(lambda: redis.xlen(settings.event_stream) == 0)


# -- the rest -------------------------------------------------------------------------------------


def test_the_sweep_runs_beside(client: Client, pump: Pump, resumers: Resumers) -> None:
    run_id = client.start("add")
    pump.lose()
    checkpoint = client.checkpoint(run_id)
    assert pump.deployment.store.defer(run_id, checkpoint.version, 0.01, "lost")
    resumers.start(1)

    def done() -> bool:
        pump.run()
        return client.get(run_id).is_terminal

    eventually(done)


@pytest.mark.chaos
def test_redis_dies_and_comes_back(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    publish: Callable[..., int],
    redis: Redis,
    settings: Settings,
    valkey_server: ValkeyServer,
) -> None:
    if os.environ.get("REDIS_URL"):
        pytest.skip("needs a server of its own")
    resumers.start(3)
    first, second = _listener(client, pump), _listener(client, pump, {"wait_key": "order:2"})
    valkey_server.kill()
    eventually(lambda: not any(one.is_listening for one in resumers.all))
    valkey_server.ensure_running()
    eventually(lambda: all(one.is_listening for one in resumers.all), timeout=30)
    resumers.settle()
    publish({"n": 1})
    assert _event(client, pump, first) == {"n": 1}
    redis.xadd(settings.event_stream, {"wait_key": "order:2", "payload": "2"})
    eventually(lambda: client.get(second).status is not RunStatus.WAITING, timeout=30)


@pytest.mark.chaos
def test_the_database_is_away_while_events_arrive(
    client: Client,
    pump: Pump,
    resumers: Resumers,
    publish: Callable[..., int],
    redis: Redis,
    request: pytest.FixtureRequest,
    fleet_store: SqlCheckpointStore,
) -> None:
    if fleet_store.database.dialect.name == "sqlite" or os.environ.get("DATABASE_URL"):
        pytest.skip("needs a PostgreSQL server of its own")
    server: PostgresServer = request.getfixturevalue("postgres_server")
    resumers.start(2)
    run_id = _listener(client, pump)
    server.kill()
    try:
        publish({"n": 1})
        publish({"n": 2})
        redis.xadd(resumers.all[0].settings.event_stream, {"wait_key": KEY, "payload": "3"})
    finally:
        server.ensure_running()
    inbox = _settled(fleet_store, 3)
    assert [payload["n"] for payload in inbox if isinstance(payload, dict)] == [1, 2]
    assert len(inbox) == 3
    assert _event(client, pump, run_id) in ({"n": 1}, 3)


def _program(settings: Settings, log: Path) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "ABSTRACTRUNTIME_PREFIX": settings.prefix,
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "workers.resumer", "--app", "tests.fleet.flows:app"],
            env=env,
            stdout=out,
            stderr=out,
            cwd=Path(__file__).parents[2],
        )


@pytest.mark.chaos
def test_the_program(
    client: Client,
    pump: Pump,
    publish: Callable[..., int],
    redis: Redis,
    settings: Settings,
    fleet_store: SqlCheckpointStore,
    tmp_path: Path,
) -> None:
    """Two processes; one is killed, the other takes over, and ends by itself on SIGTERM."""

    def listening() -> int:
        # Of a key of its own: delivered late, it may come after the run has started, which would hear it.
        return publish({"event_id": "probe", "payload": 0}, wait_key="probe")

    first, second = (_program(settings, tmp_path / f"{n}.log") for n in (1, 2))
    try:
        eventually(lambda: listening() == 2, timeout=30)
        eventually(lambda: redis.get(f"{settings.prefix}:resumer"))
        first.kill()
        first.wait(10)
        eventually(lambda: listening() == 1, timeout=30)
        run_id = _listener(client, pump)

        def woken() -> bool:
            publish({"who": "second"})
            return client.get(run_id).status is not RunStatus.WAITING

        eventually(woken, timeout=20, interval=0.2)
        # Its hint went to the real broker, where no worker is: take the step here.
        pump.deployment.engine.tick(run_id, client.checkpoint(run_id).version)
        assert client.get(run_id).output == {"event": {"who": "second"}}
        second.send_signal(signal.SIGTERM)
        assert second.wait(20) == 0
        assert redis.get(f"{settings.prefix}:resumer") is None
        assert "Traceback" not in (tmp_path / "2.log").read_text()
    finally:
        for process in (first, second):
            if process.poll() is None:
                process.kill()
                process.wait(10)


def test_a_wrong_setting_ends_the_program_with_one_line(settings: Settings, tmp_path: Path) -> None:
    wrong = settings.model_copy(update={"database_url": f"sqlite:///{tmp_path / 'empty.db'}"})
    process = _program(wrong, tmp_path / "log")
    assert process.wait(30) == 1
    log = (tmp_path / "log").read_text()
    assert "resumer can't start" in log
    assert "Traceback" not in log
