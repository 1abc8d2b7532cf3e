"""The contract's stores and the fleet's store over one database see the same runs and ledgers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from abstractruntime.core.errors import CorruptCheckpointError, InvalidInputError
from abstractruntime.core.models import RunStatus
from abstractruntime.storage.checkpoints import Task, Write, Written
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sql.statements import statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.storage.runs import a_record, a_run, insert, loaded, moved, waiting_for


class _UndoError(Exception):
    pass


@pytest.fixture
def runs(database: Database) -> SqlRunStore:
    return SqlRunStore(database)


@pytest.fixture
def ledger(database: Database) -> SqlLedgerStore:
    return SqlLedgerStore(database)


def test_a_run_saved_by_its_host_is_left_alone_by_the_fleet(
    sql_store: SqlCheckpointStore, runs: SqlRunStore
) -> None:
    before = insert(sql_store, a_run(), wake_at=1.0)
    held = moved(
        sql_store, before, before.run, task=Task.EFFECT, attempts=3, wake_at=1.0, due_at=2.0, lease_until=3.0
    )
    runs.save(a_run(current_node="elsewhere"))
    after = loaded(sql_store, "r1")
    assert after.version == held.version + 1
    assert (after.wake_at, after.due_at, after.lease_until, after.step) == (None, None, None, None)
    assert (after.attempts, after.task) == (0, Task.TICK)
    assert sql_store.claim_due(limit=10, grace_s=1.0) == []
    assert sql_store.commit(Write(held, held.run)) is Written.CONFLICT


def test_a_run_swapped_by_its_host_is_left_alone_by_the_fleet(
    sql_store: SqlCheckpointStore, runs: SqlRunStore
) -> None:
    before = insert(sql_store, a_run(), wake_at=1.0)
    held = moved(
        sql_store, before, before.run, task=Task.EFFECT, attempts=3, wake_at=1.0, due_at=2.0, lease_until=3.0
    )
    elsewhere = a_run(current_node="elsewhere")
    assert runs.swap(elsewhere, before=held.run, version=held.version) == held.version + 1
    after = loaded(sql_store, "r1")
    assert (after.run, after.version) == (elsewhere, held.version + 1)
    assert (after.wake_at, after.due_at, after.lease_until, after.step) == (None, None, None, None)
    assert (after.attempts, after.task) == (0, Task.TICK)


def test_a_run_that_goes_on_shows_its_newest_update(runs: SqlRunStore) -> None:
    before = a_run()
    runs.save(before)
    after = replace(before, current_node="b", updated_at="2027-01-01T00:00:00+00:00")
    assert runs.swap(after, before=before, version=runs.version_of("r1")) == runs.version_of("r1") == 2
    assert runs.load("r1") == after
    assert [row["updated_at"] for row in runs.list_run_index()] == [after.updated_at]


def test_both_doors_append_to_one_ledger(
    sql_store: SqlCheckpointStore, runs: SqlRunStore, ledger: SqlLedgerStore
) -> None:
    ledger.append(a_record(a_run(), "before the run"))
    runs.save(a_run())
    ledger.append(a_record(a_run(), "host"))
    before = loaded(sql_store, "r1")
    assert before.ledger_seq == 2
    ledger.append(a_record(a_run(), "meanwhile"))
    moved(sql_store, before, before.run, records=[a_record(a_run(), "fleet 1"), a_record(a_run(), "fleet 2")])
    ledger.append(a_record(a_run(), "after"))
    keys = [entry.record["idempotency_key"] for entry in sql_store.ledger("r1")]
    assert keys == ["before the run", "host", "meanwhile", "fleet 1", "fleet 2", "after"]
    assert [entry.seq for entry in sql_store.ledger("r1")] == [1, 2, 3, 4, 5, 6]
    assert ledger.count("r1") == 6
    assert ledger.count_many(["r1"]) == {"r1": 6}
    assert loaded(sql_store, "r1").ledger_seq == 6


def test_a_child_saved_by_its_host_knows_its_depth(sql_store: SqlCheckpointStore, runs: SqlRunStore) -> None:
    runs.save(a_run("a"))
    runs.save(a_run("b", parent_run_id="a"))
    runs.save(a_run("c", parent_run_id="b"))
    assert [loaded(sql_store, run_id).depth for run_id in "abc"] == [0, 1, 2]


def test_saving_keeps_the_wait_keys_in_step(sql_store: SqlCheckpointStore, runs: SqlRunStore) -> None:
    runs.save(waiting_for(a_run(), "a", "b"))
    with sql_store.unit() as unit:
        assert unit.waiting_on(["b"]) == [("r1", "b")]
    runs.save(waiting_for(a_run(), "b", "c"))
    with sql_store.unit() as unit:
        assert unit.waiting_on(["a"]) == []
        assert unit.waiting_on(["c"]) == [("r1", "c")]
    runs.save(waiting_for(a_run(), "d"))
    with sql_store.unit() as unit:
        assert unit.waiting_on(["a", "b", "c"]) == []
        assert unit.waiting_on(["d"]) == [("r1", "d")]


@pytest.mark.weakness("spec/02 D-4")
def test_atomic_writes_of_both_stores_together_or_not_at_all(
    runs: SqlRunStore, ledger: SqlLedgerStore
) -> None:
    with runs.atomic():
        ledger.append(a_record(a_run(), "k"))
        runs.save(a_run())
        assert runs.load("r1") is not None

    def spoiled() -> None:
        with runs.atomic():
            ledger.append(a_record(a_run(), "l"))
            runs.save(a_run(status=RunStatus.COMPLETED))
            with runs.atomic():
                runs.save(a_run("r2"))
            raise _UndoError

    with pytest.raises(_UndoError):
        spoiled()
    kept = runs.load("r1")
    assert kept is not None
    assert kept.status is RunStatus.RUNNING
    assert runs.load("r2") is None
    assert ledger.count("r1") == 1
    ledger.append(a_record(a_run(), "m"))
    assert [entry["idempotency_key"] for entry in ledger.list("r1")] == ["k", "m"]


def test_another_object_for_the_same_database_takes_part(database: Database, runs: SqlRunStore) -> None:
    """On SQLite it would wait for this thread's own transaction; on PostgreSQL it would not see the run."""
    other = SqlLedgerStore(open_database(database.url))
    with runs.atomic():
        runs.save(a_run())
        other.append(a_record(a_run(), "k"))

    def spoiled() -> None:
        with runs.atomic():
            other.append(a_record(a_run(), "l"))
            raise _UndoError

    with pytest.raises(_UndoError):
        spoiled()
    assert other.count("r1") == 1


def test_a_refused_part_does_not_spoil_the_rest(runs: SqlRunStore, ledger: SqlLedgerStore) -> None:
    with runs.atomic():
        runs.save(a_run())
        with pytest.raises(TypeError):
            ledger.append(a_record(a_run(), result={"x": object()}))
        ledger.append(a_record(a_run()))
    assert ledger.count("r1") == 1
    assert runs.load("r1") is not None


def test_stores_of_one_database_share_their_lock_domain(database: Database, runs: SqlRunStore) -> None:
    again = open_database(database.url)
    assert SqlRunStore(again).lock_domain is runs.lock_domain


@pytest.mark.weakness("spec/02 D-10")
def test_a_damaged_run_is_reported_and_hides_no_other(
    database: Database, runs: SqlRunStore, sql_store: SqlCheckpointStore, caplog: pytest.LogCaptureFixture
) -> None:
    runs.save(a_run("good"))
    runs.save(a_run("bad"))
    with database.transaction() as session:
        damage = statement("UPDATE runs SET run_json = :text WHERE run_id = 'bad'")
        session.execute(damage, {"text": '{"status": "nonsense"'})
    for load in (runs.load, sql_store.load):
        with pytest.raises(CorruptCheckpointError, match="'bad'"):
            load("bad")
    assert [run.run_id for run in runs.list_runs()] == ["good"]
    assert "'bad'" in caplog.text
    assert [run.run_id for run in runs.list_runs(limit=1)] == ["good"]
    assert len(runs.list_run_index()) == 2


def test_a_state_without_names_has_blank_ones(database: Database, runs: SqlRunStore) -> None:
    runs.save(a_run("r1"))
    with database.transaction() as session:
        cut = statement("UPDATE runs SET run_json = :text WHERE run_id = 'r1'")
        session.execute(cut, {"text": '{"status": "running"}'})
    run = runs.load("r1")
    assert run is not None
    assert (run.run_id, run.workflow_id, run.current_node) == ("r1", "", "")


def test_a_damaged_record_is_reported_and_hides_no_other(
    database: Database, ledger: SqlLedgerStore, caplog: pytest.LogCaptureFixture
) -> None:
    for key in ("a", "b", "c"):
        ledger.append(a_record(a_run(), key))
    with database.transaction() as session:
        session.execute(statement("UPDATE ledger SET record_json = '[1' WHERE seq = 2"))
        session.execute(statement("UPDATE ledger SET record_json = '[1]' WHERE seq = 3"))
    assert [entry["idempotency_key"] for entry in ledger.list("r1")] == ["a"]
    assert "record 2 of run 'r1'" in caplog.text
    assert ledger.list_after(run_id="r1", after=0) == (ledger.list("r1"), 3)


@pytest.mark.parametrize("run_id", ["", " ", " r1", "r1\n"])
def test_ids_that_could_not_be_loaded_again_are_refused(runs: SqlRunStore, run_id: str) -> None:
    with pytest.raises(InvalidInputError, match="run_id"):
        runs.save(a_run(run_id))


def test_a_record_needs_a_run_id(ledger: SqlLedgerStore) -> None:
    for run_id in ("", "  "):
        with pytest.raises(ValueError, match=r"^StepRecord.run_id must be non-empty$"):
            ledger.append(replace(a_record(a_run()), run_id=run_id))


def test_load_strips_the_id(runs: SqlRunStore) -> None:
    runs.save(a_run())
    assert runs.load(" r1 ") is not None
    assert runs.load("  ") is None
