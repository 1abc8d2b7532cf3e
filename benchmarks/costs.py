"""What one step asks of the database: statements (each is a round trip), rows, bytes of write-ahead log."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from abstractruntime.core.starting import new_run
from abstractruntime.storage.sql.driver import Cursor, Parameters
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.postgres_dialect import PostgresSession
from abstractruntime.storage.sql.sqlite_dialect import SqliteSession
from abstractruntime.storage.sql.statements import Statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.testing.databases import create_database
from abstractruntime.testing.servers import PostgresServer
from workers.deployment import Deployment
from workers.settings import load_settings

from .flatness import Nowhere
from .flows import app

STEPS = 500
_SESSIONS: dict[str, Any] = {"postgresql": PostgresSession, "sqlite": SqliteSession}


@dataclass(frozen=True, slots=True)
class Cost:
    """Per effect step (two ledger records and a checkpoint).

    Attributes:
        statements: SQL statements; on PostgreSQL each is one round trip.
        rows: rows inserted or updated (PostgreSQL only).
        hot_share: share of the updates of ``runs`` that touched no index (PostgreSQL only).
        wal_bytes: bytes added to the write-ahead log.
    """

    statements: float
    rows: float | None
    hot_share: float | None
    wal_bytes: float


def cost_of_a_step(system: str, postgres: PostgresServer, *, max_steps: int) -> Cost:
    """Over 500 steps of one run, ``max_steps`` of them per tick."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/runs.db"
        if system == "postgresql":
            url = create_database(postgres.url, f"costs_{time.time_ns()}")
        database = open_database(url)
        upgrade(database)
        _keep_whole_log(database)
        try:
            return _measured(database, url, max_steps)
        finally:
            database.close()


def _keep_whole_log(database: Database) -> None:
    """SQLite begins its log anew every 1 000 pages; then its size would say nothing."""
    if database.dialect.name == "sqlite":
        session = database.take()
        session.connection.execute("PRAGMA wal_autocheckpoint=0", {})
        database.give(session)


def _measured(database: Database, url: str, max_steps: int) -> Cost:
    store = SqlCheckpointStore(database)
    settings = load_settings(app="benchmarks.flows:app", database_url=url, tick_max_steps=max_steps)
    deployment = Deployment.build(settings, app, store, Nowhere())
    with deployment.commits.batch() as batch:
        workflow = deployment.app.get("chain")
        if workflow is None:
            raise RuntimeError("benchmarks.flows declares no workflow 'chain'")
        run = new_run(workflow, config=app.config, env=batch.env, vars={"steps": 10**6})
        deployment.commits.insert_run(batch, run, depth=0)
    version = _ticks(deployment, store, run.run_id, 1, 100 // max_steps)
    before = _log_and_rows(database)
    with _counted(database) as statements:
        _ticks(deployment, store, run.run_id, version, STEPS // max_steps)
    after = _log_and_rows(database)
    updates = after["updates"] - before["updates"]
    is_postgresql = database.dialect.name == "postgresql"
    return Cost(
        statements=len(statements) / STEPS,
        rows=(after["rows"] - before["rows"]) / STEPS if is_postgresql else None,
        hot_share=(after["hot"] - before["hot"]) / updates if updates else None,
        wal_bytes=(after["wal"] - before["wal"]) / STEPS,
    )


def _ticks(deployment: Deployment, store: SqlCheckpointStore, run_id: str, version: int, number: int) -> int:
    for _ in range(number):
        deployment.engine.tick(run_id, version)
        version += 1  # what one tick takes of this workflow is one write
    checkpoint = store.load(run_id)
    if checkpoint is None or checkpoint.version != version:
        raise RuntimeError(f"{number} ticks were not {number} writes")
    return version


@contextmanager
def _counted(database: Database) -> Iterator[list[str]]:
    kind = _SESSIONS[database.dialect.name]
    execute, seen = kind.execute, []

    def counting(session: Any, statement: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        seen.append(statement.postgresql)
        cursor: Cursor = execute(session, statement, params)
        return cursor

    kind.execute = counting
    try:
        yield seen
    finally:
        kind.execute = execute


def _log_and_rows(database: Database) -> dict[str, int]:
    if database.dialect.name == "sqlite":
        log = Path(f"{database.url.database}-wal")
        return {"wal": log.stat().st_size, "rows": 0, "updates": 0, "hot": 0}
    with database.engine.connect() as connection:
        connection.exec_driver_sql("SELECT pg_stat_force_next_flush()")
    database.close()  # the counters of a connection are certain once it is gone
    with database.engine.connect() as connection:
        wal = connection.exec_driver_sql("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").scalar_one()
        rows, updates, hot = connection.exec_driver_sql(
            "SELECT sum(n_tup_ins + n_tup_upd), sum(n_tup_upd), sum(n_tup_hot_upd) FROM pg_stat_user_tables"
        ).one()
    return {"wal": int(wal), "rows": int(rows), "updates": int(updates), "hot": int(hot)}
