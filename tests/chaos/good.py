"""A small workload, carried out in this process without faults: a database in which everything holds."""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread

from abstractruntime.cli.chaos.evidence import Evidence, read_evidence
from abstractruntime.cli.chaos.flows import ORACLE_URL, app
from abstractruntime.cli.chaos.oracle import Call, Oracle
from abstractruntime.cli.chaos.outside import Journal, Outside
from abstractruntime.cli.chaos.scripts import Act, Ending, PlannedRun, Verb
from abstractruntime.cli.chaos.story import busy_runs
from abstractruntime.cli.chaos.workload import workload
from abstractruntime.storage.checkpoints import Task
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.statements import statement
from abstractruntime.storage.sql.store import SqlCheckpointStore
from tests.poll import eventually
from workers.client import Client
from workers.deployment import Deployment
from workers.hints import Hint, Message
from workers.settings import Settings, load_settings
from workers.sweep import sweep

DEADLINE_S = 60.0
SEED, RUNS, SECONDS = 5, 60, 2.0
CANCELLED = PlannedRun(
    run_id="cancelled",
    workflow_id="ask",
    vars={"questions": ["unanswered"]},
    start_at_s=0.0,
    ending=Ending(status="waiting", or_cancelled=True),
    meddling=(Act(0.2, Verb.CANCEL),),
)


@dataclass
class Good:
    """What a checker gets, with the database in a file that can be copied and broken."""

    file: Path
    planned: tuple[PlannedRun, ...]
    journal: Journal
    calls: list[Call]

    def evidence(self, file: Path | None = None, *, calls: list[Call] | None = None) -> Evidence:
        database = open_database(f"sqlite:///{file or self.file}")
        try:
            return read_evidence(
                database,
                calls=self.calls if calls is None else calls,
                planned=self.planned,
                started=self.journal.started,
                accepted=self.journal.accepted,
            )
        finally:
            database.close()


class _Workers:
    """A dispatcher and the workers behind it, in a thread: a hint is carried out when its time has come."""

    def __init__(self, settings: Settings, store: SqlCheckpointStore) -> None:
        self._lock = Lock()
        self._due: list[tuple[float, int, Hint]] = []
        self._count = 0
        self._stopping = Event()
        self._thread = Thread(target=self._work, daemon=True)
        self._deployment = Deployment.build(settings, app, store, self)

    def send(self, messages: Sequence[Message]) -> None:
        with self._lock:
            for message in messages:
                if isinstance(message, Hint):
                    self._count += 1
                    heapq.heappush(self._due, (time.monotonic() + message.delay_s, self._count, message))

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return False

    def __enter__(self) -> _Workers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        engine = self._deployment.engine
        swept = 0.0
        while not self._stopping.is_set():
            with self._lock:
                is_due = bool(self._due) and self._due[0][0] <= time.monotonic()
                hint = heapq.heappop(self._due)[2] if is_due else None
            if hint is None:
                self._stopping.wait(0.01)
            else:
                act = engine.tick if hint.task is Task.TICK else engine.effect
                act(hint.run_id, hint.version)
            if time.monotonic() - swept > 0.3:
                swept = time.monotonic()
                sweep(self._deployment.store, self, self._deployment.timing)


def make_good(folder: Path) -> Good:
    """Carry the workload out. Long timers and slow calls are left out, so that it takes some seconds."""
    file = folder / "good.db"
    url = f"sqlite:///{file}"
    planned = (*(run for run in workload(SEED, RUNS, SECONDS) if _is_short(run)), CANCELLED)
    database = open_database(url)
    upgrade(database)
    store = SqlCheckpointStore(database)
    settings = load_settings(
        app="x:y", database_url=url, redis_url="redis://127.0.0.1:1/0", broker_url=None, redelivery_grace=2.0
    )
    with ExitStack() as stack:
        oracle = stack.enter_context(_oracle())
        workers = stack.enter_context(_Workers(settings, store))
        client = stack.enter_context(Client(app, settings=settings, store=store, dispatcher=workers))
        outside = stack.enter_context(Outside(client, planned))
        eventually(
            lambda: outside.open == 0 and busy_runs(database) == 0,
            timeout=DEADLINE_S,
            message="the workload does not come to rest",
        )
        calls, journal = oracle.calls(), outside.journal
    assert not journal.failures
    database.read(lambda session: session.execute(statement("PRAGMA wal_checkpoint(TRUNCATE)")).fetchall())
    database.close()
    return Good(file, planned, journal, calls)


def _is_short(run: PlannedRun) -> bool:
    child = run.vars.get("child_vars", {})
    naps = [*run.vars.get("naps", ()), *child.get("naps", ())]
    work = max(run.vars.get("work_s", 0.0), child.get("work_s", 0.0))
    return max(naps, default=0.0) < 2.0 and work < 0.5


@contextmanager
def _oracle() -> Iterator[Oracle]:
    with Oracle() as oracle:
        thread = Thread(target=oracle.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        os.environ[ORACLE_URL] = oracle.url
        try:
            yield oracle
        finally:
            del os.environ[ORACLE_URL]
            oracle.shutdown()
            thread.join()
