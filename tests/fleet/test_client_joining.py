"""Starting and emitting inside a caller's own transaction."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from abstractruntime.app import App
from abstractruntime.core.errors import ConfigurationError, RunConflictError, UnknownRunError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from tests.poll import aeventually, eventually
from workers.aio_client import AsyncClient
from workers.client import Client
from workers.settings import Settings


@pytest.fixture(params=["callers engine", "our engine"])
def engine(
    request: pytest.FixtureRequest, database_url: str, fleet_store: SqlCheckpointStore
) -> Iterator[Engine]:
    """A plain engine as an application has it (on SQLite with the driver's own transactions), or ours."""
    if request.param == "our engine":
        made = fleet_store.database.engine
    else:
        made = create_engine(database_url, poolclass=NullPool)
    with made.begin() as connection:
        connection.execute(text("CREATE TABLE orders (id INTEGER PRIMARY KEY, run_id TEXT)"))
    yield made
    made.dispose()


def _order(connection: Connection | Session, run_id: str) -> None:
    connection.execute(text("INSERT INTO orders (id, run_id) VALUES (1, :run_id)"), {"run_id": run_id})


def _orders(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return [row[0] for row in connection.execute(text("SELECT run_id FROM orders"))]


def test_a_run_and_its_order_commit_together(client: Client, pump: Pump, engine: Engine) -> None:
    with engine.begin() as connection:
        run_id = client.start("add", {"a": 1}, connection=connection)
        _order(connection, run_id)
        with pytest.raises(UnknownRunError):
            client.get(run_id)
        assert pump.sent == []
    assert _orders(engine) == [run_id]
    eventually(lambda: len(pump.sent) == 1, message="published after the commit")
    pump.run()
    assert client.get(run_id).output == {"sum": 1}


def test_neither_is_there_after_a_rollback(client: Client, pump: Pump, engine: Engine) -> None:
    with engine.connect() as connection:
        connection.begin()
        run_id = client.start("add", connection=connection)
        _order(connection, run_id)
        connection.rollback()
        assert _orders(engine) == []
        # The same connection goes on: only what is committed is published.
        with connection.begin():
            second = client.start("add", connection=connection)
    eventually(lambda: len(pump.sent) == 1)
    assert pump.sent[0].run_id == second
    with pytest.raises(UnknownRunError):
        client.get(run_id)
    assert client.counts() == {"running": 1}


@pytest.mark.parametrize("scoped", [False, True])
def test_a_session(client: Client, pump: Pump, engine: Engine, scoped: bool) -> None:
    factory = sessionmaker(engine)
    session: Session | scoped_session[Session] = scoped_session(factory) if scoped else factory()
    first = client.start("add", connection=session)
    session.rollback()
    second = client.start("ask", connection=session)
    _order(session, second)  # type: ignore[arg-type]
    session.commit()
    third = client.start("ask", connection=session)
    session.commit()
    session.close()
    eventually(lambda: len(pump.sent) == 2)
    assert [message.run_id for message in pump.sent] == [second, third]
    with pytest.raises(UnknownRunError):
        client.get(first)


def test_a_savepoint_that_is_undone(
    client: Client, pump: Pump, engine: Engine, fleet_store: SqlCheckpointStore
) -> None:
    if engine.dialect.name == "sqlite" and engine is not fleet_store.database.engine:
        pytest.skip("the driver's own transactions don't know savepoints")
    with engine.begin() as connection:
        savepoint = connection.begin_nested()
        undone = client.start("add", connection=connection)
        savepoint.rollback()
        kept = client.start("add", connection=connection)
    assert client.get(kept).status is RunStatus.RUNNING
    with pytest.raises(UnknownRunError):
        client.get(undone)
    eventually(lambda: [message.run_id for message in pump.sent] == [kept])


def test_a_hint_that_was_never_published_is_swept(client: Client, pump: Pump, engine: Engine) -> None:
    with engine.begin() as connection:
        run_id = client.start("add", connection=connection)
    checkpoint = client.checkpoint(run_id)
    assert checkpoint.wake_at is not None
    assert checkpoint.wake_at <= checkpoint.now + pump.deployment.timing.grace_s + 1.0


def test_the_same_id_in_a_callers_transaction(client: Client, pump: Pump, engine: Engine) -> None:
    client.start("add", {"a": 1}, run_id="mine")
    with engine.begin() as connection:
        assert client.start("add", {"a": 1}, run_id="mine", connection=connection) == "mine"
        assert client.start("add", {"a": 2}, run_id="yours", connection=connection) == "yours"
        assert client.start("add", {"a": 2}, run_id="yours", connection=connection) == "yours"
        with pytest.raises(RunConflictError):
            client.start("add", {"a": 3}, run_id="yours", connection=connection)
    assert client.counts() == {"running": 2}


def test_an_event_of_a_callers_transaction(client: Client, pump: Pump, engine: Engine) -> None:
    run_id = client.start("listen")
    pump.run()
    sent = len(pump.sent)
    with engine.connect() as connection:
        connection.begin()
        assert client.emit_event("paid", session_id="s1", connection=connection).resumed == [run_id]
        connection.rollback()
        assert client.get(run_id).status is RunStatus.WAITING
        connection.begin()
        receipt = client.emit_event("paid", {"n": 2}, session_id="s1", connection=connection)
        assert (receipt.accepted, receipt.resumed) == (True, [run_id])
        assert len(pump.sent) == sent
        connection.commit()
    eventually(lambda: len(pump.sent) == sent + 1)
    pump.run()
    output = client.get(run_id).output
    assert output is not None
    assert output["event"]["payload"] == {"n": 2}


def test_what_is_no_transaction_is_refused(client: Client, engine: Engine) -> None:
    with pytest.raises(ConfigurationError, match="takes a SQLAlchemy Connection or Session, not Engine"):
        client.start("add", connection=engine)  # type: ignore[arg-type]


def test_another_database_system_is_refused(
    client: Client, fleet_store: SqlCheckpointStore, sqlite_url: str
) -> None:
    if fleet_store.database.dialect.name == "sqlite":
        pytest.skip("the runs are in SQLite")
    other = create_engine(sqlite_url, poolclass=NullPool)
    with other.connect() as connection, pytest.raises(ConfigurationError, match="must be the same database"):
        client.start("add", connection=connection)
    other.dispose()


async def test_an_async_transaction(
    fleet_settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore, pump: Pump
) -> None:
    pytest.importorskip("greenlet", reason="SQLAlchemy's asyncio needs it: sqlalchemy[asyncio]")
    if fleet_store.database.dialect.name == "sqlite":
        pytest.importorskip("aiosqlite")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    url = fleet_store.database.url.render_as_string(hide_password=False)
    engine = create_async_engine(url.replace("sqlite:", "sqlite+aiosqlite:"), poolclass=NullPool)
    client = AsyncClient(fleet_app, settings=fleet_settings, store=fleet_store, dispatcher=pump)
    async with engine.connect() as connection:
        await connection.begin()
        undone = await client.start("add", connection=connection)
        await connection.rollback()
    async with AsyncSession(engine) as session:
        kept = await client.start("add", connection=session)
        await session.commit()
    await aeventually(lambda: _sent(pump, [kept]))
    with pytest.raises(UnknownRunError):
        await client.get(undone)
    with pytest.raises(ConfigurationError, match="AsyncConnection or AsyncSession"):
        await client.start("add", connection=engine)  # type: ignore[arg-type]
    await engine.dispose()
    await client.close()


async def _sent(pump: Pump, ids: list[str]) -> bool:
    return [message.run_id for message in pump.sent] == ids
