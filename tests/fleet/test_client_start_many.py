"""Many runs in one transaction: all of them or none, and repeatable like one."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest

from abstractruntime.app import App
from abstractruntime.core.errors import (
    InvalidInputError,
    PayloadTooLargeError,
    RunConflictError,
    UnknownWorkflowError,
)
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from tests.poll import eventually
from workers.aio_client import AsyncClient
from workers.client import Client
from workers.settings import Settings
from workers.start import MOST_AT_ONCE


def test_each_gets_its_own_vars_in_order(client: Client, pump: Pump) -> None:
    ids = client.start_many("add", [{"a": n, "b": 1} for n in range(5)], session_id="s", actor_id="ann")
    assert len(set(ids)) == 5
    assert {(run.session_id, run.actor_id) for run in map(client.get, ids)} == {("s", "ann")}
    pump.run()
    assert [client.get(run_id).output for run_id in ids] == [{"sum": n + 1} for n in range(5)]


def test_none_is_none(client: Client) -> None:
    assert client.start_many("add", []) == []
    assert client.counts() == {}


def test_the_same_call_gives_the_same_runs(client: Client, pump: Pump) -> None:
    asked = [{"a": 1}, {"a": 2}]
    for _ in range(2):
        assert client.start_many("add", asked, run_ids=["x", "y"]) == ["x", "y"]
    assert client.start("add", {"a": 2}, run_id="y") == "y"
    assert client.start_many("add", [*asked, {"a": 3}], run_ids=["x", "y", "z"]) == ["x", "y", "z"]
    assert client.counts() == {"running": 3}
    assert len(pump.sent) == 3


def test_one_conflict_starts_none(client: Client, pump: Pump) -> None:
    client.start("add", {"a": 1}, run_id="m")
    with pytest.raises(RunConflictError, match=r"'m'.* started with other vars"):
        client.start_many("add", [{"a": 1}, {"a": 2}, {"a": 3}], run_ids=["a", "m", "z"])
    assert client.counts() == {"running": 1}
    assert len(pump.sent) == 1


def test_an_id_twice_in_one_call(client: Client) -> None:
    assert client.start_many("add", [{"a": 1}] * 2, run_ids=["x", "x"]) == ["x", "x"]
    with pytest.raises(RunConflictError):
        client.start_many("add", [{"a": 1}, {"a": 2}], run_ids=["y", "y"])
    assert client.counts() == {"running": 1}


@pytest.mark.parametrize(
    ("vars", "run_ids", "complaint"),
    [
        ([{"a": 1}, {"a": object()}], None, r"vars\[1\]\.a is a object"),
        ([{"a": 1}, [1]], None, r"vars\[1\] must be a dict, got list"),
        ({"a": 1}, None, "vars must be a list of dicts, one for each run, got dict"),
        (7, None, "vars must be a list of dicts, one for each run, got int"),
        ([{}, {}], ["one"], "one id for each of the 2 runs"),
        ([{}], "x", "one id for each of the 1 runs"),
        ([{}, {}], ["one", ""], r"run_ids\[1\]"),
        ([{}, {}], ["one", None], r"run_ids\[1\]"),
        ([{}] * (MOST_AT_ONCE + 1), None, f"start at most {MOST_AT_ONCE} at once"),
    ],
)
def test_wrong_requests_start_none(client: Client, vars: object, run_ids: object, complaint: str) -> None:
    with pytest.raises(InvalidInputError, match=complaint):
        client.start_many("add", vars, run_ids=run_ids)  # type: ignore[arg-type]
    assert client.counts() == {}


def test_other_refusals_start_none(client: Client) -> None:
    with pytest.raises(UnknownWorkflowError):
        client.start_many("nope", [{}])
    with pytest.raises(PayloadTooLargeError):
        client.start_many("add", [{}, {"a": "x" * 20_000}])
    assert client.counts() == {}


def test_two_calls_with_the_same_ids_at_once(client: Client) -> None:
    ids = [f"run-{n}" for n in range(40)]

    def start(order: list[str]) -> list[str]:
        return client.start_many("add", [{"a": 1}] * len(order), run_ids=order)

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(start, [ids, ids[::-1]] * 4)) == [ids, ids[::-1]] * 4
    assert client.counts() == {"running": 40}


def test_more_than_the_queue_takes_is_the_sweeps(
    fleet_settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore, pump: Pump
) -> None:
    settings = fleet_settings.model_copy(update={"queue_limit": 3})
    with Client(fleet_app, settings=settings, store=fleet_store, dispatcher=pump) as client:
        ids = client.start_many("add", [{"a": n, "b": 0} for n in range(8)])
        assert len(pump.sent) == 3

        def have_completed() -> bool:
            pump.sweep()  # what was not sent is due now, by the database's clock
            pump.run()
            return {client.get(run_id).status for run_id in ids} == {RunStatus.COMPLETED}

        eventually(have_completed, message="the sweep does not find them")


def test_inside_a_callers_transaction(client: Client) -> None:
    engine = client.store.database.engine
    with engine.connect() as connection, connection.begin() as transaction:
        client.start_many("add", [{"a": 1}] * 3, connection=connection)
        transaction.rollback()
    assert client.counts() == {}
    with engine.connect() as connection, connection.begin():
        client.start_many("add", [{"a": 1}] * 3, connection=connection)
    assert client.counts() == {"running": 3}


def test_from_asyncio(
    fleet_settings: Settings, fleet_app: App, fleet_store: SqlCheckpointStore, pump: Pump
) -> None:
    async def start() -> list[str]:
        async with AsyncClient(
            fleet_app, settings=fleet_settings, store=fleet_store, dispatcher=pump
        ) as client:
            return await client.start_many("add", [{"a": 1}, {"a": 2}], run_ids=["x", "y"])

    assert asyncio.run(start()) == ["x", "y"]
    assert [message.run_id for message in pump.sent] == ["x", "y"]
