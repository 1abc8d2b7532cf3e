"""Making, adopting and upgrading a database."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

import abstractruntime.storage.sql.migrations
from abstractruntime.core.models import WaitReason
from abstractruntime.storage.checkpoints import PriorResult, RunFilter
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.store import SqlCheckpointStore
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore
from tests.storage.contract_file import add_record, add_run, make_contract_file
from tests.storage.runs import a_record, a_run, loaded, moved


@pytest.fixture
def contract_file(tmp_path: Path) -> Path:
    path = tmp_path / "published.sqlite3"
    make_contract_file(path)
    add_run(path, "r1", "waiting", {"reason": "event", "wait_key": "k"}, None)
    add_run(path, "r2", "running", None, "r1")
    add_run(path, "r3", "running", None, "r2")
    add_run(path, "r4", "waiting", {"reason": "until", "until": "2026-01-01T00:00:00+00:00"}, None)
    add_record(path, "r1", 1, '{"status": "started", "idempotency_key": "a", "node_id": "n"}')
    add_record(path, "r1", 2, '{"status": "completed", "idempotency_key": "a", "result": {"score": NaN}}')
    add_record(path, "r2", 1, "damaged")
    return path


def _schema(database: Database) -> dict[str, Any]:
    """Tables, columns, indexes, by name: the order of columns is free."""
    with database.engine.connect() as connection:
        seen = inspect(connection)
        found: dict[str, Any] = {}
        for table in seen.get_table_names():
            columns = {
                column["name"]: (
                    str(column["type"]).replace("DOUBLE_PRECISION", "DOUBLE"),
                    column["nullable"] and not column.get("primary_key"),
                    column["default"],
                )
                for column in seen.get_columns(table)
            }
            indexes = {
                index["name"]: (index["column_names"], index["unique"], _condition(index))
                for index in seen.get_indexes(table)
            }
            key = seen.get_pk_constraint(table)["constrained_columns"]
            found[table] = (columns, indexes, key)
        return found


def _storage_options(database: Database) -> object:
    if database.dialect.name == "sqlite":
        return None
    options = text("SELECT reloptions FROM pg_class WHERE relname = 'runs'")
    with database.engine.connect() as connection:
        found = connection.execute(options).scalar()
    assert found == ["fillfactor=80"]
    return found


def _condition(index: Any) -> str:
    options = index.get("dialect_options", {})
    return str(options.get("sqlite_where", options.get("postgresql_where", "")))


def _nullable_keys(schema: dict[str, Any]) -> dict[str, Any]:
    """SQLite lets the published files' text keys be null on paper; ours say NOT NULL."""
    cleaned = {}
    for table, (columns, indexes, key) in schema.items():
        kept = {
            name: (kind, nullable and name not in key, default)
            for name, (kind, nullable, default) in columns.items()
        }
        cleaned[table] = (kept, indexes, key)
    return cleaned


def test_the_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option(
        "script_location", str(Path(abstractruntime.storage.sql.migrations.__file__).parent)
    )
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrate.head()


def test_a_fresh_database_is_current(database_url: str) -> None:
    database = open_database(database_url)
    assert migrate.current(database) is None
    assert not migrate.is_current(database)
    migrate.upgrade(database)
    assert migrate.is_current(database)
    migrate.upgrade(database)
    assert migrate.current(database) == migrate.head()
    database.close()


def test_a_fresh_database_equals_a_migrated_one(database_url: str, postgres_or_file: Any) -> None:
    fresh, migrated = open_database(database_url), open_database(postgres_or_file(database_url))
    migrate.upgrade(fresh)
    with migrated.engine.begin() as connection:
        connection.execute(text("CREATE TABLE neighbour (x INTEGER)"))  # not empty: goes through Alembic
    migrate.upgrade(migrated)
    expected = _schema(fresh)
    found = _schema(migrated)
    del found["neighbour"]
    assert found == expected
    assert _storage_options(migrated) == _storage_options(fresh)
    assert migrate.is_current(migrated)
    fresh.close()
    migrated.close()


@pytest.fixture
def postgres_or_file(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Another empty database of the same kind."""

    def another(url: str) -> str:
        if url.startswith("sqlite"):
            return f"sqlite:///{tmp_path / 'another.sqlite3'}"
        from abstractruntime.testing.databases import create_database, drop_database

        name = "another_" + url.rsplit("_", 1)[1]
        request.addfinalizer(lambda: drop_database(url, name))
        return create_database(url, name)

    return another


def test_an_adopted_file_equals_a_fresh_one(contract_file: Path, sqlite_url: str) -> None:
    adopted, fresh = open_database(f"sqlite:///{contract_file}"), open_database(sqlite_url)
    migrate.upgrade(adopted)
    migrate.upgrade(fresh)
    assert _nullable_keys(_schema(adopted)) == _nullable_keys(_schema(fresh))
    adopted.close()
    fresh.close()


def test_an_adopted_file_keeps_its_runs_and_ledgers(contract_file: Path) -> None:
    database = open_database(f"sqlite:///{contract_file}")
    migrate.upgrade(database)
    store = SqlCheckpointStore(database)
    run = loaded(store, "r1")
    assert run.run.vars == {"ü": 1}
    assert run.run.waiting is not None
    assert run.run.waiting.reason is WaitReason.EVENT
    assert (run.version, run.ledger_seq, run.depth, run.wake_at) == (1, 2, 0, None)
    assert run.started_at == pytest.approx(1767225600.0, abs=1.0)
    assert [loaded(store, run_id).depth for run_id in ("r2", "r3", "r4")] == [1, 2, 0]
    with store.unit() as unit:
        assert unit.waiting_on(["k"]) == [("r1", "k")]
        prior = unit.completed_result("r1", "a")
        assert prior is not None
        assert str(prior) == str(PriorResult({"score": float("nan")}))
        assert unit.completed_result("r2", "a") is None
    after = moved(store, run, run.run, records=[a_record(run.run, "b")])
    assert [entry.seq for entry in store.ledger("r1")] == [1, 2, 3]
    assert after.ledger_seq == 3
    nodes = {row.run_id: row.current_node for row in store.find_runs(RunFilter(session_id="s1"))}
    assert nodes == {run_id: f"at-{run_id}" for run_id in ("r1", "r2", "r3", "r4")}
    database.close()


def test_the_next_append_to_an_adopted_ledger_gets_the_next_position(contract_file: Path) -> None:
    db = SqliteDatabase(contract_file)
    ledger = SqliteLedgerStore(db)
    ledger.append(a_record(a_run(), "b"))
    assert ledger.count("r1") == 3
    head = db.connection().execute("SELECT last_seq FROM ledger_heads WHERE run_id = 'r1'").fetchone()
    assert head["last_seq"] == 3
    assert db.connection().execute("SELECT count(*) FROM commands").fetchone()[0] == 1
    db.close()


def test_heads_are_repaired_on_every_open_but_never_lowered(tmp_path: Path) -> None:
    path = tmp_path / "heads.sqlite3"
    db = SqliteDatabase(path)
    ledger = SqliteLedgerStore(db)
    for run_id in ("lagging", "gone", "ahead"):
        for _ in range(2):
            ledger.append(a_record(a_run(run_id)))
    connection = db.connection()
    connection.execute("UPDATE ledger_heads SET last_seq = 1 WHERE run_id = 'lagging'")
    connection.execute("DELETE FROM ledger_heads WHERE run_id = 'gone'")
    connection.execute("UPDATE ledger_heads SET last_seq = 9 WHERE run_id = 'ahead'")
    db.close()
    again = SqliteDatabase(path)
    assert SqliteLedgerStore(again).count_many(["lagging", "gone", "ahead"]) == {
        "lagging": 2,
        "gone": 2,
        "ahead": 9,
    }
    again.close()


def _upgrade(url: str, results: Any) -> None:
    database = open_database(url)
    try:
        migrate.upgrade(database)
        results.put("done")
    except Exception as exc:
        results.put(repr(exc))
    finally:
        database.close()


@pytest.mark.parametrize("adopt", [False, True], ids=["fresh", "adopted"])
def test_several_processes_may_upgrade_at_once(tmp_path: Path, contract_file: Path, adopt: bool) -> None:
    path = contract_file if adopt else tmp_path / "new.sqlite3"
    _upgrade_in_parallel(f"sqlite:///{path}")
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(migrate.head(),)]
    connection.close()


def test_several_processes_may_upgrade_postgresql_at_once(postgres_url: str) -> None:
    _upgrade_in_parallel(postgres_url)


def _upgrade_in_parallel(url: str) -> None:
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    processes = [context.Process(target=_upgrade, args=(url, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get(timeout=60) for _ in processes] == ["done"] * 3
    for process in processes:
        process.join(timeout=30)


def test_a_fresh_sqlite_file_needs_no_alembic(sqlite_url: str) -> None:
    code = (
        "import sys\n"
        "from abstractruntime.storage.sql import migrate\n"
        "from abstractruntime.storage.sql.engine import open_database\n"
        f"migrate.upgrade(open_database({sqlite_url!r}))\n"
        "sys.exit('alembic' in sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
