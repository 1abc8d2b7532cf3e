"""What ends a step in one call on SQLite (`core.step_writer`): both or nothing, and no host is passed by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from abstractruntime import Effect, EffectType, Runtime, StepPlan, WorkflowSpec
from abstractruntime.core.models import RunState, StepRecord, StepStatus
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.step_writer import StepWriting
from abstractruntime.storage import InMemoryLedgerStore
from abstractruntime.storage.sql.driver import Cursor, Parameters
from abstractruntime.storage.sql.sqlite_dialect import SqliteSession
from abstractruntime.storage.sql.statements import Statement
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.storage.runs import a_run


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "runs.db")
    yield database
    database.close()


@pytest.fixture
def runs(database: SqliteDatabase) -> SqliteRunStore:
    store = SqliteRunStore(database)
    store.save(a_run(vars={"n": 0}))
    return store


@pytest.fixture
def ledger(database: SqliteDatabase) -> SqliteLedgerStore:
    return SqliteLedgerStore(database)


def a_record() -> StepRecord:
    record = StepRecord.start(run=a_run(), node_id="a", effect=None)
    record.status = StepStatus.COMPLETED
    return record


def test_record_and_checkpoint_are_written_together(runs: SqliteRunStore, ledger: SqliteLedgerStore) -> None:
    writer = runs.step_writer(ledger)
    assert writer is not None
    after = a_run(vars={"n": 1})
    record = a_record()
    version = writer.end(writer.encoded(record), after, version=runs.version_of("r1"))
    assert version == runs.version_of("r1") == 2
    assert (runs.load("r1"), ledger.list("r1")) == (after, [record.to_dict()])


def test_who_has_not_seen_the_newest_writes_neither(runs: SqliteRunStore, ledger: SqliteLedgerStore) -> None:
    writer = runs.step_writer(ledger)
    assert writer is not None
    runs.save(a_run(vars={"n": 5}))
    assert writer.end(writer.encoded(a_record()), a_run(vars={"n": 1}), version=1) is None
    assert (runs.load("r1"), ledger.list("r1")) == (a_run(vars={"n": 5}), [])


def test_a_record_that_finds_no_place_takes_the_checkpoint_with_it(
    database: SqliteDatabase, runs: SqliteRunStore, ledger: SqliteLedgerStore
) -> None:
    writer = runs.step_writer(ledger)
    assert writer is not None
    ledger.append(a_record())
    database.connection().execute("UPDATE ledger_heads SET last_seq = 0")
    with pytest.raises(sqlite3.IntegrityError, match="seq=1"):
        writer.end(writer.encoded(a_record()), a_run(vars={"n": 1}), version=1)
    assert (runs.load("r1"), runs.version_of("r1")) == (a_run(vars={"n": 0}), 1)


def test_a_state_without_json_form_writes_nothing(runs: SqliteRunStore, ledger: SqliteLedgerStore) -> None:
    writer = runs.step_writer(ledger)
    assert writer is not None
    with pytest.raises(TypeError, match="r1"):
        writer.end(writer.encoded(a_record()), a_run(vars={"bad": object()}), version=1)
    assert ledger.list("r1") == []


def test_only_stores_of_one_file_have_it(tmp_path: Path, runs: SqliteRunStore) -> None:
    elsewhere = SqliteDatabase(tmp_path / "other.db")
    assert StepWriting.of(runs, SqliteLedgerStore(elsewhere)) is None
    assert StepWriting.of(runs, InMemoryLedgerStore()) is None
    elsewhere.close()


class Watched(SqliteRunStore):
    def save(self, run: RunState) -> None:
        super().save(run)


class WatchedLedger(SqliteLedgerStore):
    def append(self, record: StepRecord) -> None:
        super().append(record)


def test_methods_of_a_host_are_called(
    database: SqliteDatabase, runs: SqliteRunStore, ledger: SqliteLedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert StepWriting.of(Watched(database), ledger) is None
    assert StepWriting.of(runs, WatchedLedger(database)) is None
    writing = StepWriting.of(runs, ledger)
    assert writing is not None
    assert writing.writer is not None
    monkeypatch.setattr(ledger, "append", lambda record: None)
    assert writing.writer is None
    monkeypatch.undo()
    monkeypatch.setattr(SqliteRunStore, "save", Watched.save)
    assert writing.writer is None


def test_a_step_takes_few_statements(
    runs: SqliteRunStore, ledger: SqliteLedgerStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Statement] = []
    execute = SqliteSession.execute

    def count(session: SqliteSession, statement: Statement, params: Parameters = {}, /) -> Cursor:  # noqa: B006
        said.append(statement)
        return execute(session, statement, params)

    def loop(run: RunState, context: object) -> StepPlan:
        run.vars["n"] += 1
        effect = Effect(EffectType.TOOL_CALLS, {"n": run.vars["n"]}, result_key="answer")
        return StepPlan(node_id="loop", effect=effect, next_node="loop")

    handlers = {EffectType.TOOL_CALLS: lambda run, effect: EffectOutcome.completed({})}
    runtime = Runtime(run_store=runs, ledger_store=ledger, effect_handlers=handlers)
    workflow = WorkflowSpec(workflow_id="loop", entry_node="loop", nodes={"loop": loop})
    run_id = runtime.start(workflow=workflow, vars={"n": 0})
    monkeypatch.setattr(SqliteSession, "execute", count)
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=10)
    ten = len(said)
    runtime.tick(workflow=workflow, run_id=run_id, max_steps=20)
    # Asked for the key; STARTED in a transaction of two, outcome and checkpoint in one of three.
    assert len(said) - 2 * ten == 10 * (1 + (2 + 2) + (2 + 3))
