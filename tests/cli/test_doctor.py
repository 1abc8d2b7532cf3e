"""``abstractruntime doctor`` against real servers: says what is wrong and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import redis

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import RunFilter
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.health import commit_count, health
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.cli.conftest import APP, Command
from tests.fleet.pump import Pump
from workers.client import Client


@pytest.fixture
def bus(redis_url: str, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    """A real Redis that the environment names."""
    monkeypatch.setenv("REDIS_URL", redis_url)
    with redis.Redis.from_url(redis_url) as client:
        yield client


def found(command: Command, level: str) -> list[str]:
    return [
        finding["what"]
        for finding in json.loads(command("doctor", "--json").stdout)
        if finding["level"] == level
    ]


def test_a_sound_deployment(command: Command, bus: redis.Redis) -> None:
    with bus.pubsub() as listener:
        listener.psubscribe("abstractruntime:event:*")
        listener.get_message(timeout=5)
        result = command("doctor")
    assert result.exit_code == 0, result.output
    assert "bad" not in result.output
    for part in (f"App 'cli-tests' ({APP}): 5 workflow(s)", "schema revision", "runs: none yet", "Valkey"):
        assert part in result.output
    assert "queues: abstractruntime.ticks 0, abstractruntime.effects 0" in result.output
    assert "a resumer listens" in result.output


def test_queues_and_runs_are_counted(command: Command, bus: redis.Redis) -> None:
    command("runs", "start", "plain")
    command("runs", "start", "plain")
    text = command("doctor").stdout
    assert "runs: 2 running" in text
    assert "abstractruntime.ticks 2" in text


def test_nobody_listens_and_no_append_only_file_are_warnings(command: Command, bus: redis.Redis) -> None:
    warnings = "\n".join(found(command, "warn"))
    assert "no resumer listens on abstractruntime:event:*" in warnings
    assert "append-only" in warnings
    assert command("doctor").exit_code == 0


def test_a_broker_that_may_evict_is_bad(command: Command, bus: redis.Redis) -> None:
    before = bus.config_get("maxmemory-policy")["maxmemory-policy"]
    bus.config_set("maxmemory-policy", "allkeys-lru")
    try:
        result = command("doctor")
    finally:
        bus.config_set("maxmemory-policy", before)
    assert result.exit_code == 1
    assert "may evict messages: maxmemory-policy is allkeys-lru" in result.stdout
    assert "CONFIG SET maxmemory-policy noeviction" in result.stdout


def test_redis_away(command: Command, database: str) -> None:
    result = command("doctor")
    assert result.exit_code == 1
    assert "Redis at 127.0.0.1:1/0 can't be reached" in result.stdout
    assert "abstractruntime dev" in result.stdout


def test_database_away_missing_or_old(command: Command, bus: redis.Redis) -> None:
    for url, message in (
        ("postgresql://nobody:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite:///nowhere.db", "no database at nowhere.db"),
        ("sqlite:///empty.db", "is at schema revision none"),
    ):
        if "empty" in url:
            open("empty.db", "w").close()
        result = command("doctor", "--database-url", url)
        assert result.exit_code == 1
        assert message in result.stdout
        assert "secret" not in result.stdout


def test_an_app_that_does_not_import_is_bad(command: Command, bus: redis.Redis) -> None:
    result = command("doctor", "--app", "no_such_module:app")
    assert result.exit_code == 1
    assert "bad   App 'no_such_module:app' can't be imported" in result.stdout
    assert "schema revision" in result.stdout  # the other checks are made all the same


def test_held_and_overdue_runs_are_told(
    command: Command, bus: redis.Redis, client: Client, pump: Pump
) -> None:
    run_id = client.start("plain")
    checkpoint = client.checkpoint(run_id)
    client.store.defer(run_id, checkpoint.version, -100.0, "no worker yet knows node 'done'")
    result = command("doctor")
    assert result.exit_code == 1
    assert "1 run(s) held: no worker yet knows node 'done'" in result.stdout
    assert "1 run(s) are overdue, the oldest by 10" in result.stdout
    assert "nobody sweeps" in result.stdout


def test_health_counts_on_every_database(database_url: str) -> None:
    opened = open_database(database_url)
    upgrade(opened)
    try:
        empty = health(opened, late_s=10.0)
        assert (empty.by_status, empty.by_wait, empty.held, empty.overdue) == ({}, {}, [], 0)
        assert commit_count(opened) == 0
        assert SqlCheckpointStore(opened).find_runs(RunFilter(status=RunStatus.RUNNING)) == []
    finally:
        opened.close()
