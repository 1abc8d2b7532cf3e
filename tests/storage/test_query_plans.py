"""Statements go through an index, however long a ledger is and however many runs wait."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from sqlalchemy import Connection

from abstractruntime.core.models import RunStatus, WaitReason
from abstractruntime.storage.checkpoints import RunFilter
from abstractruntime.storage.sql import door_statements as door
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql import statements as sql
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.listing import find_statement

RUNS = 20_000


@pytest.mark.weakness("spec/02 P-1")
@pytest.mark.parametrize("statement", [sql.COMPLETED_RECORD, door.COMPLETED_RECORDS])
def test_a_prior_result_is_found_through_the_index_of_keys(
    database: Database, statement: sql.Statement
) -> None:
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"{_series(database, 5000)}"
            " INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)"
            " SELECT 'r', i, '{}', 'completed', 'key-' || i FROM n"
        )
        connection.exec_driver_sql("ANALYZE")
        plan = _plan(connection, database, statement, {"run_id": "r", "key": "key-7"})
    assert "idx_ledger_completed_key" in plan


def _series(database: Database, count: int) -> str:
    if database.dialect.name == "sqlite":
        return f"WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
    return f"WITH n AS (SELECT generate_series(1, {count}) AS i)"


def _plan(
    connection: Connection, database: Database, statement: sql.Statement, params: dict[str, object]
) -> str:
    if database.dialect.name == "sqlite":
        rows = connection.exec_driver_sql("EXPLAIN QUERY PLAN " + statement.sqlite, params).fetchall()
        return "\n".join(str(row[3]) for row in rows)
    rows = connection.exec_driver_sql("EXPLAIN " + statement.postgresql, params).fetchall()
    return "\n".join(str(row[0]) for row in rows)


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def crowded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """20 000 parked runs, half timers and half listeners, with ledgers and an inbox to match."""
    if request.param == "sqlite":
        opened = open_database(f"sqlite:///{tmp_path_factory.mktemp('plans') / 'runs.db'}")
        yield from _filled(opened)
        return
    from abstractruntime.testing.databases import create_database, drop_database

    server = request.getfixturevalue("postgres_server")
    server.ensure_running()
    url = create_database(server.url, "query_plans")
    yield from _filled(open_database(url))
    drop_database(server.url, "query_plans")


def _filled(database: Database) -> Iterator[Database]:
    migrate.upgrade(database)
    series = _series(database, RUNS)
    with database.engine.begin() as connection:
        for fill in (
            """INSERT INTO runs (run_id, workflow_id, status, wait_reason, wait_key, wake_at, due_at,
                   updated_at, parent_run_id, session_id, run_json)
               SELECT 'r' || i, CASE WHEN i % 2 = 0 THEN 'timer' ELSE 'event' END, 'waiting',
                   CASE WHEN i % 2 = 0 THEN 'until' ELSE 'event' END,
                   CASE WHEN i % 2 = 1 THEN 'key-' || i END,
                   CASE WHEN i % 2 = 0 THEN 2000000000.0 + i END,
                   CASE WHEN i % 2 = 0 THEN 2000000030.0 + i END,
                   '2026-01-01T00:00:00.' || (100000 + i), CASE WHEN i % 4 = 0 THEN 'p' || i END,
                   CASE WHEN i % 8 = 0 THEN 's' || (i / 80) END, '{blob}' FROM n""",
            """INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
               SELECT 'r' || i, 1, '{blob}', 'completed', 'k' || i FROM n""",
            """INSERT INTO wait_keys (run_id, wait_key) SELECT 'r' || i, 'one-of-' || i FROM n
               WHERE i % 10 = 1""",
            """INSERT INTO events (event_id, wait_key, wildcard_key, payload_json, added_at, expires_at)
               SELECT 'e' || i, 'key-' || i, 'wild-' || (i % 100), '{blob}', i, 9e9 FROM n""",
            """INSERT INTO event_cursors (run_id, wait_key, seq) SELECT 'r' || i, 'key-' || i, i FROM n""",
        ):
            text = f"{series} {fill.replace('{blob}', 'x' * 500)}"
            if database.dialect.name == "postgresql":
                text = text.replace("%", "%%")
            connection.exec_driver_sql(text)
        connection.exec_driver_sql("ANALYZE")
    yield database
    database.close()


CLAIM = {"limit": 500, "ageing": 60.0, "task": "tick", "grace": 10.0, "lowest": -10, "highest": 10}
ONE = {"run_id": "r77", "version": 1}
SWAPPED: dict[str, object] = {
    **dict.fromkeys(("wait_reason", "wait_until", "wait_key", "due_at")),
    **dict.fromkeys(("status", "current_node", "updated_at", "run_json"), "running"),
}
STATEMENTS: dict[str, tuple[sql.Statement, dict[str, object]]] = {
    "load": (sql.LOAD, ONE),
    "load, locked": (sql.LOAD_LOCKED, ONE),
    "lease": (sql.EXTEND_LEASE, {**ONE, "seconds": 30.0}),
    "defer": (sql.DEFER, {**ONE, "seconds": 30.0, "reason": "x"}),
    "children": (sql.OPEN_CHILDREN, ONE),
    "something due": (sql.SOMETHING_DUE, {}),
    "claim": (sql.claim_due_statement(False), CLAIM),
    "claim of one task": (sql.claim_due_statement(True), CLAIM),
    "listeners": (sql.waiting_on_statement(2), {"key_0": "key-77", "key_1": "evt:*"}),
    "next event": (sql.next_event_statement(2), {**ONE, "key_0": "key-77", "key_1": "k", "since": 5.0}),
    "swap": (door.SWAP_RUN, {**ONE, **SWAPPED}),
    "swap, running": (door.SWAP_RUNNING, {**ONE, **SWAPPED}),
    "ledger": (sql.LEDGER_AFTER, {**ONE, "after": 0, "limit": 10}),
}
LISTS = {
    "newest": RunFilter(),
    "roots": RunFilter(root_only=True),
    "waiting": RunFilter(status=RunStatus.WAITING),
    "failed": RunFilter(status=RunStatus.FAILED),
    "users": RunFilter(status=RunStatus.WAITING, wait_reason=WaitReason.USER),
    "workflow": RunFilter(workflow_id="timer"),
    "rare workflow": RunFilter(workflow_id="rare"),
    "rare workflow, waiting": RunFilter(workflow_id="rare", status=RunStatus.WAITING),
    "session": RunFilter(session_id="s7"),
    "children": RunFilter(parent_run_id="p8"),
}
# On SQLite SCAN without an index reads the table from one end to the other.
READS_ALL = {
    "sqlite": re.compile(r"SCAN (runs|ledger|events|wait_keys|event_cursors|[rkeo])\b(?! USING)"),
    "postgresql": re.compile(r"Seq Scan on (runs|ledger|events|wait_keys|event_cursors)"),
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_the_fleets_statements_read_no_table_from_end_to_end(crowded: Database, name: str) -> None:
    statement, params = STATEMENTS[name]
    if statement is sql.SOMETHING_DUE and crowded.dialect.name == "postgresql":
        pytest.skip("only SQLite looks before it claims")
    if crowded.dialect.name == "sqlite":
        params = {key: value for key, value in params.items() if f":{key}" in statement.sqlite}
    with crowded.engine.connect() as connection:
        plan = _plan(connection, crowded, statement, params)
    assert not READS_ALL[crowded.dialect.name].search(plan), plan


@pytest.mark.parametrize("before", [None, "2026-01-01T00:00:00.110000"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_read_no_table_from_end_to_end(crowded: Database, name: str, before: str | None) -> None:
    statement, params = find_statement(LISTS[name], 100, before)
    with crowded.engine.connect() as connection:
        plan = _plan(connection, crowded, statement, params)
    assert not READS_ALL[crowded.dialect.name].search(plan), plan


@pytest.mark.parametrize("one_task", [False, True])
def test_a_claim_that_is_repeated_stays_with_its_index(crowded: Database, one_task: bool) -> None:
    """psycopg prepares it after five times: PostgreSQL may then plan without knowing the limit."""
    if crowded.dialect.name == "sqlite":
        pytest.skip("SQLite has no generic plans")
    statement = sql.claim_due_statement(one_task)
    with crowded.engine.connect() as connection:
        cursor = connection.connection.cursor()
        for _ in range(8):
            cursor.execute("EXPLAIN " + statement.postgresql, CLAIM, prepare=True)
            plan = "\n".join(row[0] for row in cursor.fetchall())
            assert "Seq Scan on runs" not in plan


def test_a_run_that_goes_on_writes_no_index_of_waits(crowded: Database) -> None:
    if crowded.dialect.name == "postgresql":
        pytest.skip("PostgreSQL compares the columns of a row itself")
    with crowded.engine.connect() as connection:
        roots = dict(
            connection.exec_driver_sql("SELECT rootpage, name FROM sqlite_master WHERE rootpage > 0").all()
        )
        program = connection.exec_driver_sql(f"EXPLAIN {door.SWAP_RUNNING.sqlite}", {**ONE, **SWAPPED}).all()
    written = {roots[row.p2] for row in program if row.opcode == "OpenWrite"}
    found_by = "sqlite_autoindex_runs_1"
    updated = {f"idx_runs_{name}updated" for name in ("", "status_", "workflow_")}
    assert written - {found_by} == {"runs"} | updated
