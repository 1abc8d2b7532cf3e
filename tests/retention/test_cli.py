"""``abstractruntime purge`` on a fleet's database, a SQLite file and a folder of JSON files."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from abstractruntime.cli.program import program
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.times import to_iso
from abstractruntime.storage.artifacts import FileArtifactStore
from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
from abstractruntime.storage.snapshots import JsonSnapshotStore
from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sql.snapshot_store import SqlSnapshotStore
from tests.retention.stores import DONE, FAILED, WAITING, Stores, make_run

pytestmark = pytest.mark.weakness("spec/02 P-8")

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Runs ``abstractruntime purge ARGS...`` in an empty folder."""
    for name in ("DATABASE_URL", "REDIS_URL", "ABSTRACTRUNTIME_DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> Result:
        return CliRunner().invoke(program, ["purge", *args], catch_exceptions=False)

    return run


@pytest.fixture(params=["sqlite", "postgresql"])
def fleet_url(request: pytest.FixtureRequest) -> str:
    fixture = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}[request.param]
    url: str = request.getfixturevalue(fixture)
    return url


@pytest.fixture
def in_database(fleet_url: str) -> Iterator[Stores]:
    database = open_database(fleet_url)
    migrate.upgrade(database)
    yield Stores(
        SqlRunStore(database),
        SqlLedgerStore(database),
        SqlArtifactStore(database),
        SqlSnapshotStore(database),
    )
    database.close()


def aged(run_id: str, days: float, status: RunStatus = DONE, **fields: str) -> RunState:
    """A run last updated that many days before now."""
    moment = datetime.now(timezone.utc) - timedelta(days=days)
    return replace(make_run(run_id, status, **fields), updated_at=to_iso(moment))


def fill(stores: Stores) -> None:
    stores.put(aged("old", 40), aged("old-child", 40, parent_run_id="old"), aged("failed", 40, FAILED))
    stores.put(aged("young", 20), aged("waiting", 400, WAITING))


def test_a_fleets_database(command: Command, in_database: Stores, fleet_url: str) -> None:
    fill(in_database)
    args = ["--older-than", "30d", "--database-url", fleet_url]
    dry = command(*args, "--dry-run", "--json")
    assert dry.exit_code == 0
    assert len(in_database.ids()) == 5
    done = command(*args, "--json")
    assert done.exit_code == 0
    told, report = json.loads(dry.stdout), json.loads(done.stdout)
    assert told == {**report, "dry_run": True}
    assert (report["runs"], report["records"], report["artifacts"], report["snapshots"]) == (3, 6, 3, 3)
    assert in_database.ids() == {"young", "waiting"}


def test_only_some_statuses(command: Command, in_database: Stores, fleet_url: str) -> None:
    fill(in_database)
    command("--older-than", "30d", "--status", "failed, cancelled", "--database-url", fleet_url)
    assert in_database.ids() == {"old", "old-child", "young", "waiting"}


def test_text_for_people(command: Command, in_database: Stores, fleet_url: str) -> None:
    fill(in_database)
    in_database.put(aged("root", 90), aged("busy", 90, WAITING, parent_run_id="root"))
    result = command("--older-than", "30d", "--events", "7d", "--limit", "2", "--database-url", fleet_url)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "removed",
        "  runs            2",
        "  ledger records  4",
        f"  artifacts       2 ({len('of oldof old-child')} bytes)",
        "  snapshots       2",
        "  events          0",
        "  commands        0",
        "kept 1 old run(s) with younger or unfinished ones below them",
        "the limit is reached: run it again for more",
    ]


def test_a_folder_of_json_files(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "runs.json"
    stores = Stores(
        JsonFileRunStore(folder),
        JsonlLedgerStore(folder),
        FileArtifactStore(folder),
        JsonSnapshotStore(folder),
        folder,
    )
    fill(stores)
    assert command("--older-than", "30d", "--store", str(folder)).exit_code == 0
    assert stores.ids() == {"young", "waiting"}
    assert stores.traces_of("old") == []
    assert {path.name for path in folder.glob("*_old*")} == set()
    assert len(list((folder / "artifacts" / "blobs").iterdir())) == 2


def test_a_sqlite_file(command: Command, tmp_path: Path) -> None:
    path = tmp_path / "runs.db"
    database = open_database(f"sqlite:///{path}")
    migrate.upgrade(database)
    SqlRunStore(database).save(aged("old", 40))
    SqlRunStore(database).save(aged("young", 4))
    assert json.loads(command("--older-than", "30d", "--store", str(path), "--json").stdout)["runs"] == 1
    assert SqlRunStore(database).load("old") is None
    assert SqlRunStore(database).load("young") is not None
    database.close()


BAD = [
    ([], "--older-than AGE, --events AGE or --commands AGE"),
    (["--older-than", "30"], "--older-than: Not a duration: '30'; write numbers with units"),
    (["--older-than", "-1d"], "--older-than: Not a duration: '-1d'"),
    (["--events", "soon"], "--events: Not a duration: 'soon'"),
    (["--older-than", "1d", "--status", "running"], "Runs that are running are never purged"),
    (["--older-than", "1d", "--status", "done"], "Unknown status 'done'"),
    (["--older-than", "1d", "--status", ","], "--status names none"),
    (["--older-than", "1d", "--store", "nowhere"], "--store: there is nothing at "),
    (["--older-than", "1d", "--store", "."], "--store: there are no runs in "),
    (["--older-than", "1d", "--store", "text.txt"], "text.txt"),
    (["--older-than", "1d"], "There is no database at "),
    (["--older-than", "1d", "--store", "json", "--database-url", "sqlite:///x.db"], "not both"),
    (["--events", "1d", "--store", "json"], "no inbox"),
    (["--commands", "1d", "--store", "json"], "no command_store"),
]


@pytest.mark.parametrize(("args", "message"), BAD, ids=[" ".join(args) or "nothing" for args, _ in BAD])
def test_one_line_says_what_is_wrong(command: Command, tmp_path: Path, args: list[str], message: str) -> None:
    (tmp_path / "text.txt").write_text("these are not runs, but some other words in a file " * 20)
    JsonFileRunStore(tmp_path / "json").save(aged("old", 40))
    result = command(*args)
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert (tmp_path / "json" / "run_old.json").exists()


def test_errors_are_told_and_make_the_command_fail(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "files"
    JsonFileRunStore(folder).save(aged("old", 40))
    FileArtifactStore(folder).store(b"x", run_id="other")
    (meta,) = (folder / "artifacts" / "refs").glob("*.meta")
    meta.write_text("{")
    result = command("--older-than", "30d", "--store", str(folder))
    assert result.exit_code == 1
    assert "gc stopped" in result.stderr
    assert not (folder / "run_old.json").exists()


@pytest.mark.chaos
@pytest.mark.parametrize("point", ["payloads_removed", "ledgers_removed", "run_removed"])
def test_a_killed_purge_is_finished_by_the_next(tmp_path: Path, point: str) -> None:
    folder = tmp_path / "files"
    stores = Stores(
        JsonFileRunStore(folder),
        JsonlLedgerStore(folder),
        FileArtifactStore(folder),
        JsonSnapshotStore(folder),
        folder,
    )
    fill(stores)
    command = [sys.executable, "-m", "abstractruntime.cli", "purge", "--older-than", "30d"]
    command += ["--store", str(folder)]
    root = Path(__file__).resolve().parents[2]
    killed = subprocess.run(
        command,
        cwd=root,
        env={**os.environ, "ABSTRACTRUNTIME_FAULTS": f"purge.{point}=kill"},
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL
    assert "old" in stores.ids()
    assert stores.is_whole("young")
    assert subprocess.run(command, cwd=root, check=False, capture_output=True, timeout=60).returncode == 0
    assert stores.ids() == {"young", "waiting"}
    assert all(stores.traces_of(run_id) == [] for run_id in ("old", "old-child", "failed"))
    assert stores.is_whole("young")
    assert stores.is_whole("waiting")
