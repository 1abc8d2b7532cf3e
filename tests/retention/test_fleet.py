"""A purge beside a fleet, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from abstractruntime.core.errors import ConfigurationError, UnknownRunError
from abstractruntime.core.models import RunStatus
from abstractruntime.core.times import parse_time, to_iso
from abstractruntime.retention import RetentionPolicy
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.checkpoints import Event
from abstractruntime.storage.command_types import CommandRecord
from abstractruntime.storage.snapshots import Snapshot
from abstractruntime.storage.sql import migrate, statements
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.command_store import SqlCommandCursorStore, SqlCommandStore
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.snapshot_store import SqlSnapshotStore
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.fleet.flows import make_app
from tests.fleet.pump import Pump
from workers.client import Client
from workers.retention import policy_of, purge_pulse
from workers.settings import Settings, load_settings

pytestmark = pytest.mark.weakness("spec/02 P-8")

ALL = RetentionPolicy(timedelta())
NO_REDIS = "redis://127.0.0.1:1/0"
TABLES = ("runs", "ledger", "ledger_heads", "wait_keys", "event_cursors")


class Fleet:
    """A client, the workers in the test's hands, and their database."""

    def __init__(self, url: str) -> None:
        self.database = open_database(url)
        migrate.upgrade(self.database)
        self.store = SqlCheckpointStore(self.database)
        self.settings = Settings(database_url=url, redis_url=NO_REDIS, publish_timeout=0.2)
        app = make_app(tool=_no_tool)
        self.pump = Pump(self.settings, app, self.store)
        self.client = Client(app, settings=self.settings, store=self.store, dispatcher=self.pump)

    def start(self, workflow: str, **vars: Any) -> str:
        run_id = self.client.start(workflow, vars)
        self.pump.run()
        return run_id

    def rows(self, table: str) -> int:
        query = statements.statement(f"SELECT count(*) FROM {table}")
        return int(self.database.read(lambda session: session.execute(query).fetchone())[0])

    def close(self) -> None:
        self.client.close()
        self.database.close()


def _no_tool(run: Any, effect: Any, next_node: Any) -> Any:
    raise RuntimeError("no tools here")


@pytest.fixture
def fleet(database_url: str) -> Iterator[Fleet]:
    opened = Fleet(database_url)
    yield opened
    opened.close()


def test_ended_runs_leave_nothing_behind_and_live_ones_go_on(fleet: Fleet) -> None:
    client = fleet.client
    for _ in range(3):
        fleet.start("add", a=1, b=2)
    heard = fleet.start("listen")
    client.emit_event("paid", {"n": 1}, session_id="s1")
    fleet.pump.run()
    assert client.get(heard).status is RunStatus.COMPLETED
    parent = fleet.start("parent", of="ask")
    (child,) = (run.run_id for run in client.list(parent_run_id=parent))
    waiting = fleet.start("listen", listen={"wait_keys": ["door-a", "door-b"]})

    told = client.purge(ALL, dry_run=True)
    assert told.runs == 4
    report = client.purge(ALL)
    assert (report.runs, report.records, report.kept_trees) == (4, told.records, 0)
    assert report.records > 4
    with pytest.raises(UnknownRunError):
        client.get(heard)
    assert {run.run_id for run in client.list()} == {parent, child, waiting}
    assert fleet.rows("event_cursors") == 0
    assert fleet.rows("wait_keys") == 2

    client.respond(child, {"ok": True})
    client.emit_event(wait_key="door-b", payload={"n": 2})
    fleet.pump.run()
    assert {client.get(run_id).status for run_id in (parent, child, waiting)} == {RunStatus.COMPLETED}
    assert client.purge(ALL).runs == 3
    assert {table: fleet.rows(table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_an_ended_parent_stays_while_a_child_goes_on(fleet: Fleet) -> None:
    parent = fleet.start("brood", of="ask")
    (child,) = (run.run_id for run in fleet.client.list(parent_run_id=parent))
    assert fleet.client.get(parent).status is RunStatus.COMPLETED
    report = fleet.client.purge(ALL)
    assert (report.runs, report.kept_trees) == (0, 1)
    fleet.client.cancel(child)
    assert fleet.client.purge(ALL).runs == 2


def test_a_failed_run_that_is_being_retried_is_not_taken(fleet: Fleet) -> None:
    run_id = fleet.start("call")
    assert fleet.client.get(run_id).status is RunStatus.FAILED
    with fleet.store.unit() as unit:
        checkpoint = unit.load(run_id)
        assert checkpoint is not None
        if fleet.database.dialect.name == "postgresql":  # SQLite has one writer: the purge would queue up
            found: list[int] = []
            purging = threading.Thread(target=lambda: found.append(fleet.client.purge(ALL).runs))
            purging.start()
            purging.join(20)
            assert found == [0]
    fleet.client.retry(run_id)
    assert fleet.client.purge(ALL).runs == 0
    fleet.pump.run()
    assert fleet.client.get(run_id).status is RunStatus.FAILED
    assert fleet.client.purge(ALL).runs == 1


def test_purges_beside_a_working_fleet_break_nothing(fleet: Fleet) -> None:
    stop = threading.Event()
    removed: list[int] = []
    problems: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not stop.is_set():
                    work()
            except BaseException as exc:
                problems.append(exc)

        return run

    def purge() -> None:
        report = fleet.client.purge(ALL)
        assert not report.errors
        removed.append(report.runs)

    threads = [threading.Thread(target=guarded(purge)) for _ in range(2)]
    for thread in threads:
        thread.start()
    started = 0
    asking = []
    try:
        for i in range(25):
            fleet.client.start("add", {"a": i, "b": 1})
            asking.append(fleet.client.start("parent", {"of": "ask"}))
            fleet.pump.run()
            started += 1
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert problems == []
    for parent in asking:
        (child,) = (run.run_id for run in fleet.client.list(parent_run_id=parent))
        fleet.client.respond(child, {"n": 1})
        fleet.pump.run()
        assert fleet.client.get(parent).status is RunStatus.COMPLETED
    assert sum(removed) + fleet.client.purge(ALL).runs == started + 2 * len(asking)
    assert {table: fleet.rows(table) for table in TABLES} == dict.fromkeys(TABLES, 0)


def test_two_purges_share_the_work(fleet: Fleet) -> None:
    for i in range(60):
        fleet.client.start("add", {"a": i})
    fleet.pump.run()
    removed: list[int] = []
    threads = [
        threading.Thread(target=lambda: removed.append(fleet.client.purge(ALL).runs)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(removed) == 60
    assert fleet.rows("runs") == 0


def test_artifacts_and_snapshots_in_the_database_go_too(fleet: Fleet) -> None:
    run_id, live = fleet.start("add"), fleet.start("ask")
    artifacts, snapshots = SqlArtifactStore(fleet.database), SqlSnapshotStore(fleet.database)
    for each in (run_id, live):
        artifacts.store(b"shared", run_id=each)
        snapshots.save(Snapshot.from_run(run=fleet.client.get(each), name="s"))
    artifacts.store(b"only mine", run_id=run_id)
    report = fleet.client.purge(ALL)
    assert (report.artifacts, report.artifact_bytes, report.snapshots) == (2, 15, 1)
    assert [artifact.run_id for artifact in artifacts.list_all()] == [live]
    assert [snapshot.run_id for snapshot in snapshots.list()] == [live]
    assert fleet.rows("artifact_blobs") == 1


def test_only_expired_events_of_that_age_go(fleet: Fleet) -> None:
    with fleet.store.unit() as unit:
        for i in range(5):
            unit.add_event(Event(f"short-{i}", "k", {}, ttl_s=-1.0))
        unit.add_event(Event("long", "k", {"kept": True}))
    a_day = RetentionPolicy(events=timedelta(days=1))
    assert fleet.client.purge(a_day).events == 0
    at_once = RetentionPolicy(events=timedelta())
    assert fleet.client.purge(at_once, dry_run=True).events == 5
    assert fleet.client.purge(at_once).events == 5
    assert fleet.rows("events") == 1
    with fleet.store.unit() as unit:
        found = unit.next_event("r", ["k"], since=0.0)
    assert found is not None
    assert found.event_id == "long"


def test_commands_go_once_all_have_read_them(fleet: Fleet) -> None:
    commands = SqlCommandStore(fleet.database)
    old, young = to_iso(datetime.now(timezone.utc) - timedelta(days=9)), ""
    for i, sent in enumerate((old, old, old, young, old)):
        commands.append(CommandRecord(f"c{i}", "r", "pause", {}, sent))
    policy = RetentionPolicy(commands=timedelta(days=7))
    assert fleet.client.purge(policy).commands == 0  # nobody has read any
    SqlCommandCursorStore(fleet.database, consumer_id="fast").save(5)
    SqlCommandCursorStore(fleet.database, consumer_id="slow").save(2)
    assert fleet.client.purge(policy, dry_run=True).commands == 2
    assert fleet.client.purge(policy).commands == 2
    SqlCommandCursorStore(fleet.database, consumer_id="slow").save(5)
    assert fleet.client.purge(policy).commands == 1
    assert [command.command_id for command in commands.list_after(after=0)[0]] == ["c3", "c4"]
    assert fleet.client.purge(RetentionPolicy(commands=timedelta())).commands == 1
    assert commands.get_last_seq() == 5


def test_the_pulse_does_nothing_unless_a_setting_says_so(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.start("add")
    failed = fleet.start("call")
    deployment = fleet.pump.deployment
    assert purge_pulse(deployment) is None
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_COMPLETED", "0s")
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_FAILED", "30d")
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_CANCELLED", " ")
    report = purge_pulse(replace(deployment, settings=load_settings()))
    assert report is not None
    assert report.runs == 1
    assert [run.run_id for run in fleet.client.list()] == [failed]


def test_artifacts_that_the_app_keeps_elsewhere_go_too(fleet: Fleet) -> None:
    elsewhere = InMemoryArtifactStore()
    app = replace(fleet.client.app, artifacts=elsewhere)
    run_id = fleet.start("add")
    elsewhere.store(b"large", run_id=run_id)
    settings = fleet.settings.model_copy(update={"retention_completed": 0.0})
    report = purge_pulse(replace(fleet.pump.deployment, app=app, settings=settings))
    assert report is not None
    assert report.artifacts == 1
    run_id = fleet.start("add")
    elsewhere.store(b"large", run_id=run_id)
    with Client(app, settings=settings, store=fleet.store, dispatcher=fleet.pump) as client:
        assert client.purge(ALL).artifact_bytes == 5
    assert elsewhere.list_all() == []


def test_settings_become_a_policy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_FAILED", "86400")
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_EVENTS", "1w")
    assert policy_of(load_settings()) == RetentionPolicy(
        {"failed": timedelta(days=1)}, events=timedelta(days=7)
    )
    monkeypatch.setenv("ABSTRACTRUNTIME_RETENTION_EVENTS", "soon")
    with pytest.raises(ConfigurationError, match=r"RETENTION_EVENTS.*Not a duration: 'soon'"):
        load_settings()


def test_the_age_of_a_run_is_exact_where_the_column_rests(fleet: Fleet) -> None:
    """On PostgreSQL the column ``updated_at`` moves only with the status; the end of a run is such a move."""
    run_id = fleet.start("parent", of="add")
    state = fleet.client.get(run_id)
    (row,) = (run for run in fleet.client.list() if run.run_id == run_id)
    assert parse_time(row.updated_at) == parse_time(state.updated_at or "")
