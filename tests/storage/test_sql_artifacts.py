"""Artifacts in databases: damage, other processes, older schemas (`spec/02 §15` D-7, D-9, D-10)."""

from __future__ import annotations

import multiprocessing
import threading
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from abstractruntime.core.errors import ServiceUnavailableError
from abstractruntime.storage.artifacts import CorruptArtifactError
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.engine import Database, open_database
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sql.statements import statement
from abstractruntime.storage.sqlite import SqliteArtifactStore, SqliteDatabase, SqliteRunStore
from tests.storage.runs import a_run

_DELETE_ALL = statement("DELETE FROM artifact_blobs")


def execute(database: Database, statement: str, **params: object) -> None:
    with database.engine.begin() as connection:
        connection.execute(text(statement), params)


@pytest.fixture
def artifacts(database: Database) -> SqlArtifactStore:
    return SqlArtifactStore(database)


@pytest.mark.weakness("spec/02 D-9")
def test_damaged_content_is_noticed_and_repaired(database: Database, artifacts: SqlArtifactStore) -> None:
    kept = artifacts.store(b"hello", run_id="r1")
    execute(database, "UPDATE artifact_blobs SET content = :content", content=b"Xello")
    with pytest.raises(CorruptArtifactError, match=kept.artifact_id):
        artifacts.load(kept.artifact_id)
    artifacts.store(b"hello", run_id="another")
    assert artifacts.load_text(kept.artifact_id) == "hello"


@pytest.mark.parametrize("damage", ["{", "5", "null"])
def test_damaged_tags_hide_no_other_artifact(
    database: Database, artifacts: SqlArtifactStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    bad, good = artifacts.store(b"bad", run_id="r", tags={"a": "1"}), artifacts.store(b"good", run_id="r")
    execute(
        database,
        "UPDATE artifacts SET tags_json = :tags WHERE artifact_id = :id",
        tags=damage,
        id=bad.artifact_id,
    )
    for use in (artifacts.load, artifacts.get_metadata):
        with pytest.raises(CorruptArtifactError, match=bad.artifact_id):
            use(bad.artifact_id)
    assert artifacts.list_by_run("r") == artifacts.list_all() == [good]
    assert bad.artifact_id in caplog.text
    assert artifacts.gc(dry_run=False)["blobs_deleted"] == 0
    artifacts.store(b"bad", run_id="r", tags={"b": "2"})
    assert artifacts.load_text(bad.artifact_id) == "bad"


def test_the_database_itself_keeps_contents_that_are_named(
    database: Database, artifacts: SqlArtifactStore
) -> None:
    artifacts.store(b"x")
    with pytest.raises(database.dialect.integrity_error), database.transaction() as session:
        session.execute(_DELETE_ALL)


def test_artifacts_commit_with_the_run_or_not_at_all(database: Database, artifacts: SqlArtifactStore) -> None:
    runs = SqlRunStore(database)

    def store_and_save(*, fail: bool) -> None:
        with database.atomic():
            artifacts.store(b"x", run_id="r1")
            runs.save(a_run())
            if fail:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store_and_save(fail=True)
    assert (artifacts.list_all(), runs.load("r1")) == ([], None)
    store_and_save(fail=False)
    assert len(artifacts.list_by_run("r1")) == 1


def test_gc_waits_for_a_store_under_way(postgres_url: str) -> None:
    database = open_database(postgres_url)
    migrate.upgrade(database)
    artifacts = SqlArtifactStore(database)
    artifacts.delete(artifacts.store(b"x").artifact_id)
    reports = []
    collector = threading.Thread(target=lambda: reports.append(artifacts.gc(dry_run=False)))
    with database.atomic():
        kept = artifacts.store(b"x", run_id="r")
        collector.start()
        collector.join(0.3)
        assert collector.is_alive()
    collector.join()
    assert reports[0]["blobs_deleted"] == 0
    assert artifacts.load_text(kept.artifact_id) == "x"
    database.close()


def _store_many(url: str, name: int) -> None:
    database = open_database(url)
    artifacts = SqlArtifactStore(database)
    for number in range(20):
        artifacts.store(str(number).encode(), run_id="r", tags={f"p{name}": "1"})
    database.close()


def test_processes_share_artifacts(
    database_url: str, database: Database, artifacts: SqlArtifactStore
) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_store_many, args=(database_url, name)) for name in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0]
    found = artifacts.list_by_run("r")
    assert len(found) == 20
    assert all(metadata.tags == {"p0": "1", "p1": "1"} for metadata in found)


# --- older schemas ----------------------------------------------------------------------------------


def make_revision_0001(url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(files(migrate.__package__).joinpath("migrations")))
    config.set_main_option("path_separator", "os")
    database = open_database(url)
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    SqlRunStore(database).save(a_run())
    database.close()


def test_a_door_upgrades_an_older_file(tmp_path: Path) -> None:
    make_revision_0001(f"sqlite:///{tmp_path / 'old.db'}")
    door = SqliteDatabase(tmp_path / "old.db")
    artifacts = SqliteArtifactStore(door)
    assert SqliteRunStore(door).load("r1") is not None
    assert artifacts.load_text(artifacts.store_text("new").artifact_id) == "new"
    door.close()


def test_a_fleet_upgrades_by_migrate(database_url: str) -> None:
    make_revision_0001(database_url)
    database = open_database(database_url)
    assert not migrate.is_current(database)
    with pytest.raises(ServiceUnavailableError, match="abstractruntime migrate"):
        SqlArtifactStore(database).list_all()
    migrate.upgrade(database)
    assert SqlArtifactStore(database).list_all() == []
    assert SqlRunStore(database).load("r1") is not None
    database.close()
