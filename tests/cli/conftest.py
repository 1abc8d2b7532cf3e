"""The command in this process, over a database of the test's own; its Redis is away."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from abstractruntime.app import load_app
from abstractruntime.cli.program import program
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from workers.client import Client
from workers.settings import Settings

NO_REDIS = "redis://127.0.0.1:1/0"
APP = "tests.cli.flows:app"
Command = Callable[..., Result]


@pytest.fixture
def no_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty folder, and no settings from outside."""
    for name in ("DATABASE_URL", "REDIS_URL", "ABSTRACTRUNTIME_APP", "ABSTRACTRUNTIME_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ABSTRACTRUNTIME_PUBLISH_TIMEOUT", "0.2")
    # The broker is away, so the sweep of the test is who takes runs: at once.
    monkeypatch.setenv("ABSTRACTRUNTIME_REDELIVERY_GRACE", "0.01")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def command(no_environment: None) -> Command:
    """Runs ``abstractruntime ARGS...``; exceptions that are no clean exit are raised."""

    def run(*args: str, input: str | None = None) -> Result:
        return CliRunner().invoke(program, list(args), input=input, catch_exceptions=False)

    return run


@pytest.fixture
def database(no_environment: None, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated database that the environment names, with an App and a Redis that is away."""
    opened = open_database(sqlite_url)
    migrate.upgrade(opened)
    opened.close()
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    monkeypatch.setenv("REDIS_URL", NO_REDIS)
    monkeypatch.setenv("ABSTRACTRUNTIME_APP", APP)
    return sqlite_url


@pytest.fixture
def pump(database: str) -> Iterator[Pump]:
    """The workers, in the test's hands: `sweep` and `run` do what is due."""
    opened = open_database(database)
    settings = Settings(database_url=database, redis_url=NO_REDIS, redelivery_grace=0.001)
    yield Pump(settings, load_app(APP), SqlCheckpointStore(opened))
    opened.close()


@pytest.fixture
def client(database: str, pump: Pump) -> Iterator[Client]:
    """The client of the same database, to look behind the command."""
    settings = Settings(database_url=database, redis_url=NO_REDIS)
    with Client(load_app(APP), settings=settings, dispatcher=pump) as opened:
        yield opened
