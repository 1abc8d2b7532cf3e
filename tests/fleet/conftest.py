"""A client over a real database, with the fleet's workers in the test's own hands."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from abstractruntime.app import App
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.flows import make_app
from tests.fleet.pump import Pump
from workers.client import Client
from workers.settings import Settings

# Nothing listens here: what needs Redis asks for `redis_url`.
NO_REDIS = "redis://127.0.0.1:1/0"


@pytest.fixture
def fleet_store(database_url: str) -> Iterator[SqlCheckpointStore]:
    database = open_database(database_url)
    migrate.upgrade(database)
    yield SqlCheckpointStore(database)
    database.close()


@pytest.fixture
def fleet_settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url, redis_url=NO_REDIS, max_payload_bytes=10_000, publish_timeout=0.2
    )


@pytest.fixture
def fleet_app() -> App:
    return make_app()


@pytest.fixture
def pump(fleet_settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore) -> Pump:
    return Pump(fleet_settings, fleet_app, fleet_store)


@pytest.fixture
def client(
    fleet_settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore, pump: Pump
) -> Iterator[Client]:
    with Client(fleet_app, settings=fleet_settings, store=fleet_store, dispatcher=pump) as opened:
        yield opened


@pytest.fixture
def postgres_fleet(postgres_url: str, fleet_app: App) -> Iterator[tuple[Client, Pump]]:
    """A client on PostgreSQL, whatever the test beside it runs on."""
    settings = Settings(database_url=postgres_url, redis_url=NO_REDIS, publish_timeout=0.2)
    database = open_database(settings.database_url)
    migrate.upgrade(database)
    store = SqlCheckpointStore(database)
    pump = Pump(settings, fleet_app, store)
    with Client(fleet_app, settings=settings, store=store, dispatcher=pump) as opened:
        yield opened, pump
    database.close()
