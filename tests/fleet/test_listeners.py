"""An event and its listeners: however many there are, and in few statements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from abstractruntime.core.models import RunStatus
from abstractruntime.storage.sql.driver import Cursor
from abstractruntime.storage.sql.inbox import MOST_LISTENERS
from abstractruntime.storage.sql.postgres_dialect import PostgresSession
from abstractruntime.storage.sql.statements import Statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.pump import Pump
from workers.client import Client


@contextmanager
def statements(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    execute, seen = PostgresSession.execute, []

    def counting(session: PostgresSession, statement: Statement, *params: Any) -> Cursor:
        seen.append(" ".join(statement.postgresql.split()[:3]))
        return execute(session, statement, *params)

    with monkeypatch.context() as patch:
        patch.setattr(PostgresSession, "execute", counting)
        yield seen


@pytest.mark.parametrize("listeners", [1, MOST_LISTENERS, MOST_LISTENERS + 5])
def test_all_listeners_go_on(client: Client, pump: Pump, listeners: int) -> None:
    ids = client.start_many("listen", [{}] * listeners)
    pump.run()
    receipt = client.emit_event("paid", {"n": 1}, session_id="s1")
    assert sorted(receipt.resumed) == sorted(ids)
    pump.run()
    assert {client.get(run_id).status for run_id in ids} == {RunStatus.COMPLETED}


def test_an_event_with_one_listener_is_seven_statements(
    postgres_fleet: tuple[Client, Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, pump = postgres_fleet
    client.start("listen")
    pump.run()
    with statements(monkeypatch) as seen:
        receipt = client.emit_event("paid", {"n": 1}, session_id="s1")
    assert len(receipt.resumed) == 1
    assert seen == [
        "BEGIN",
        "SELECT pg_advisory_xact_lock(k) FROM",
        "INSERT INTO events",
        "WITH found AS",
        "INSERT INTO event_cursors",
        "WITH r AS",
        "COMMIT",
    ]


def test_a_listener_is_read_again_once_it_is_written(
    client: Client, fleet_store: SqlCheckpointStore, pump: Pump
) -> None:
    run_id = client.start("listen")
    pump.run()
    with fleet_store.unit() as unit:
        assert [found for found, _ in unit.waiting_on(["evt:session:s1:paid"])] == [run_id]
        first, second = unit.load(run_id), unit.load(run_id)
    assert first is not None
    assert second is not None
    assert (first.version, first.run.to_dict()) == (second.version, second.run.to_dict())
    assert first.run is not second.run


def test_many_runs_are_three_statements(
    postgres_fleet: tuple[Client, Pump], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, _ = postgres_fleet
    client.start("listen")  # the store's clock is known for a while
    with statements(monkeypatch) as seen:
        client.start_many("listen", [{}] * 100)
    assert seen == ["BEGIN", "INSERT INTO runs", "COMMIT"]
