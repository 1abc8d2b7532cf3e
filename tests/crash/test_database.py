"""PostgreSQL restarts, crashes and cuts connections in the middle of everything, also of recovery."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
from sqlalchemy import NullPool, create_engine, text

from abstractruntime.testing.servers import PostgresServer
from tests.poll import eventually

from .fleet import CrashFleet
from .nursery import Born

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(bool(os.environ.get("DATABASE_URL")), reason="needs a server of its own"),
]
ROW = pytest.mark.failure("database restarted, connections cut mid-transaction, also during recovery")


def _restart(server: PostgresServer) -> None:
    server.restart(immediate=True)


def _crash(server: PostgresServer) -> None:
    server.kill()
    server.start()


def _load(fleet: CrashFleet) -> list[str]:
    """Runs of every kind, some of which write several rows in one transaction."""
    kinds: list[tuple[str, dict[str, object]]] = [
        ("chain", {"steps": 15}),
        ("chain", {"steps": 15}),
        ("family", {}),
        ("family", {}),
        ("call", {}),
        ("call", {}),
        ("sleep", {"seconds": 2}),
        ("event", {"key": "k"}),
    ]
    return [fleet.client.start(kind, vars) for kind, vars in kinds]


@ROW
@pytest.mark.parametrize("happening", [_restart, _crash])
def test_it_restarts_under_load_and_again_while_the_sweep_recovers(
    fleet: CrashFleet, postgres_server: PostgresServer, happening: Callable[[PostgresServer], None]
) -> None:
    workers = [fleet.worker(name) for name in ("a", "b")]
    fleet.beat()
    run_ids = _load(fleet)
    eventually(
        lambda: fleet.client.checkpoint(run_ids[0]).version > 3, timeout=60, message="work did not begin"
    )
    happening(postgres_server)
    for worker in workers:
        worker.kill()
    fleet.lose_messages()
    # All that is left is what the sweep finds. It is cut while it has claimed runs and sent no message.
    recovering = fleet.worker("recovering", faults="sweep.claimed=stop")
    fleet.stops(recovering)
    happening(postgres_server)
    fleet.resume(recovering)
    fleet.client.emit_event("paid", {}, wait_key="k")
    for run_id in run_ids:
        fleet.finished(run_id)


@ROW
def test_a_worker_that_meets_the_restart_itself_goes_on(
    fleet: CrashFleet, postgres_server: PostgresServer
) -> None:
    """The workers live on; each has lost its connections, some in the middle of a step."""
    for name in ("a", "b"):
        fleet.worker(name)
    fleet.beat()
    run_ids = _load(fleet)
    for _ in range(3):
        done = fleet.client.checkpoint(run_ids[0]).version
        eventually(
            lambda done=done: (
                fleet.client.checkpoint(run_ids[0]).version > done or fleet.status(run_ids[0]) == "completed"
            ),
            timeout=60,
            message="no step",
        )
        postgres_server.restart(immediate=True)
    fleet.client.emit_event("paid", {}, wait_key="k")
    for run_id in run_ids:
        fleet.finished(run_id)


def _stopped_before_commit(fleet: CrashFleet, workflow_id: str) -> tuple[str, Born]:
    run_id = fleet.client.start(workflow_id, {"key": "k", "steps": 2})
    worker = fleet.worker("cut", faults="step.before_commit=stop")
    fleet.beat()
    fleet.stops(worker)
    return run_id, worker


@ROW
def test_a_connection_cut_in_the_middle_of_a_transaction(fleet: CrashFleet) -> None:
    """The step's statements are executed, its commit is not: nothing of it remains, and it is taken again."""
    run_id, worker = _stopped_before_commit(fleet, "event")
    assert fleet.cut_connections("idle in transaction%") == 1
    assert fleet.client.checkpoint(run_id).version == 1
    assert fleet.client.ledger(run_id) == []
    fleet.resume(worker)
    fleet.waits(run_id)
    fleet.client.emit_event("paid", {}, wait_key="k")
    fleet.finished(run_id)


@ROW
def test_a_connection_cut_before_a_statement(fleet: CrashFleet) -> None:
    run_id, worker = _stopped_before_commit(fleet, "chain")
    assert fleet.cut_connections() > 0
    fleet.resume(worker)
    assert fleet.finished(run_id).output == {"n": 2}


@ROW
def test_a_connection_cut_in_the_middle_of_a_statement(fleet: CrashFleet) -> None:
    """The statement that commits the step waits for a row lock while its connection is cut."""
    run_id = fleet.client.start("chain", {"steps": 2})
    engine = create_engine(fleet.database_url, poolclass=NullPool)
    with engine.connect() as holder:
        holder.execute(text("SELECT 1 FROM runs WHERE run_id = :run_id FOR UPDATE"), {"run_id": run_id})
        fleet.worker("cut")
        fleet.beat()
        waiting = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        eventually(lambda: fleet.sql(waiting), timeout=60, message="nobody waits for the lock")
    assert fleet.finished(run_id).output == {"n": 2}
    # Three steps; when the sweep has to send the cut one again, its attempt is counted by a write of its own.
    assert fleet.client.checkpoint(run_id).version in (4, 5)
