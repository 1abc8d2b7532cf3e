"""The simulated database: the in-memory store behind transactions that overlap as in PostgreSQL.

Read committed: a statement sees what is committed and what its own transaction wrote. Rows, wait keys and
unique ids are locked until the transaction ends; who needs a lock waits, a circle of waits is a deadlock
and costs one transaction its life. ``serial`` is SQLite: one transaction at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from abstractruntime.core.errors import ServiceUnavailableError
from abstractruntime.core.models import RunState
from abstractruntime.storage.checkpoints import (
    Checkpoint,
    DueRun,
    Event,
    LedgerEntry,
    PriorResult,
    RunFilter,
    RunSummary,
    StoredEvent,
    Task,
    Unit,
    Write,
    Written,
)
from abstractruntime.storage.in_memory_checkpoints import InMemoryCheckpointStore
from abstractruntime.storage.in_memory_unit import InMemoryUnit

from .fibers import Crash, Fiber, Fibers
from .journal import Journal
from .slots import SimulatedSlots

__all__ = ["DatabaseGone", "SimulatedDatabase"]


class DatabaseGone(ServiceUnavailableError):
    """What a driver raises when the connection breaks or a deadlock is resolved."""


class SimulatedDatabase:
    """A `CheckpointStore` for all processes of a world.

    Args:
        point: called wherever a process may be interrupted.
        serial: one transaction at a time.

    Attributes:
        redelivered: how often the sweep found work that was due already.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        fibers: Fibers,
        journal: Journal,
        point: Callable[[str], None],
        *,
        serial: bool,
    ) -> None:
        self.inner = InMemoryCheckpointStore(clock)
        self.clock = clock
        self.journal = journal
        self.point = point
        self.redelivered = 0
        self._fibers = fibers
        self._serial = serial
        self._locks: dict[str, Fiber | None] = {}

    # -- locks ----------------------------------------------------------------------------------

    def lock(self, name: str, held: set[str]) -> None:
        """Take a lock for the running fiber; wait while somebody else has it."""
        fiber = Fibers.current()
        while name in self._locks and name not in held:
            assert fiber is not None, f"the scheduler itself would wait for {name}"
            if self._closes_a_circle(fiber, name):
                raise DatabaseGone(f"deadlock on {name}")
            fiber.blocked_on = name
            self._fibers.pause(fiber)
            fiber.blocked_on = None
        self._locks[name] = fiber
        held.add(name)

    def release(self, held: set[str]) -> None:
        for name in held:
            self._locks.pop(name, None)
        held.clear()

    def is_free(self, name: str) -> bool:
        return name not in self._locks

    def _closes_a_circle(self, fiber: Fiber, name: str) -> bool:
        owner = self._locks[name]
        while owner is not None and owner is not fiber:
            if owner.blocked_on is None or owner.blocked_on not in self._locks:
                return False
            owner = self._locks[owner.blocked_on]
        return owner is fiber

    def _locked_runs(self) -> list[str]:
        return [name[4:] for name in self._locks if name.startswith("run:")]

    @property
    def awake(self) -> dict[str, float]:
        """Who must be looked at, and when."""
        return self.inner._tables.awake

    def close(self) -> None:
        """The world has ended."""

    # -- the port -------------------------------------------------------------------------------

    def load(self, run_id: str) -> Checkpoint | None:
        self.point("db.read")
        found = self.inner.load(run_id)
        self.point("db.loaded")
        return found

    def commit(self, write: Write) -> Written:
        with self.unit() as unit:
            return unit.write(write)

    def unit(self) -> AbstractContextManager[Unit]:
        return self._unit()

    def _new_unit(self) -> SimulatedUnit:
        return SimulatedUnit(self)

    @contextmanager
    def _unit(self) -> Iterator[Unit]:
        self.point("db.begin")
        fiber = Fibers.current()
        unit = self._new_unit()
        try:
            if self._serial:
                self.lock("database", unit.held)
            if fiber is not None:
                fiber.unit = unit
            yield unit
            self.point("db.commit")
            if fiber is not None and fiber.dead_now:
                raise Crash
            if fiber is not None:
                fiber.unit = None
            unit.settle()
        except BaseException:
            unit.roll_back()
            raise
        finally:
            if fiber is not None:
                fiber.unit = None
            self.release(unit.held)
        self.point("db.committed")

    @contextmanager
    def _statement(self, name: str, run_id: str | None = None) -> Iterator[None]:
        """One statement in a transaction of its own."""
        self.point(f"db.{name}")
        held: set[str] = set()
        try:
            if self._serial:
                self.lock("database", held)
            if run_id is not None:
                self.lock(f"run:{run_id}", held)
            yield
        finally:
            self.release(held)
        self.point("db.committed")

    def extend_lease(self, run_id: str, version: int, seconds: float, *, revive: bool = True) -> bool:
        with self._statement("beat", run_id):
            return self.inner.extend_lease(run_id, version, seconds, revive=revive)

    def defer(self, run_id: str, version: int, seconds: float, reason: str) -> bool:
        with self._statement("defer", run_id):
            return self.inner.defer(run_id, version, seconds, reason)

    def claim_due(
        self, *, limit: int, grace_s: float, ageing_s: float = 60.0, only: Task | None = None
    ) -> list[DueRun]:
        with self._statement("sweep"):
            awake = self.inner._tables.awake
            locked = [run_id for run_id in self._locked_runs() if run_id in awake]
            skipped = {run_id: awake.pop(run_id) for run_id in locked}
            try:
                due = self.inner.claim_due(limit=limit, grace_s=grace_s, ageing_s=ageing_s, only=only)
                self.redelivered += sum(run.delay_s == 0.0 for run in due)
                return due
            finally:
                awake.update(skipped)

    def forget_claims(self, *, limit: int = 1000) -> int:
        return self.inner.forget_claims(limit=limit)

    def find_runs(self, where: RunFilter, *, limit: int = 100, before: str | None = None) -> list[RunSummary]:
        return self.inner.find_runs(where, limit=limit, before=before)

    def ledger(self, run_id: str, *, after: int = 0, limit: int | None = None) -> list[LedgerEntry]:
        return self.inner.ledger(run_id, after=after, limit=limit)

    def status_counts(self) -> Mapping[str, int]:
        return self.inner.status_counts()

    def schedule_cursor(self, schedule_id: str) -> float:
        with self._statement("cursor"):
            return self.inner.schedule_cursor(schedule_id)

    def advance_schedule(self, schedule_id: str, *, seen: float, to: float) -> bool:
        with self._statement("advance"):
            return self.inner.advance_schedule(schedule_id, seen=seen, to=to)

    def now(self) -> float:
        return self.clock()


class SimulatedUnit:
    """A transaction: its writes stand in the tables while its fiber runs and are taken out when it pauses."""

    def __init__(self, database: SimulatedDatabase) -> None:
        self.held: set[str] = set()
        self._database = database
        self._time: float | None = None
        self._stamp = 0.0
        self._done: list[Callable[[], None]] = []
        self._journal: list[Callable[[], None]] = []
        self._inner: InMemoryUnit | None = self._open()

    def _open(self) -> InMemoryUnit:
        unit = InMemoryUnit(self._database.inner._tables, lambda: self._stamp)
        unit._now = self._time
        return unit

    # -- visible only while its fiber runs ------------------------------------------------------

    def hide(self) -> None:
        if self._inner is not None:
            self._inner.undo()
            self._inner = None

    def show(self) -> None:
        """Put all writes back, as they were."""
        self._inner = self._open()
        for again in self._done:
            again()

    def roll_back(self) -> None:
        self.hide()
        self._done.clear()

    def settle(self) -> None:
        """Commit."""
        for queue in self._database.inner._tables.events.values():
            queue.sort(key=lambda stored: stored.seq)  # readers order by position, not by time of commit
        for tell in self._journal:
            tell()

    @property
    def _tables(self) -> InMemoryUnit:
        assert self._inner is not None
        return self._inner

    def _statement(self, name: str) -> InMemoryUnit:
        self._database.point(f"db.{name}")
        self._stamp = self._database.clock()
        return self._tables

    def _lock(self, name: str) -> None:
        self._database.lock(name, self.held)

    # -- the port -------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        if self._time is None:
            self._time = self._tables._now = self._database.clock()
        return self._time

    def load(self, run_id: str) -> Checkpoint | None:
        self._statement("select_for_update")
        if run_id not in self._database.inner._tables.runs:
            return None
        self._lock(f"run:{run_id}")
        _ = self.now
        return self._tables.load(run_id)

    def write(self, write: Write) -> Written:
        self._statement("update")
        self._lock(f"run:{write.run.run_id}")
        written = self._tables.write(write)
        if written is Written.OK:
            text = self._text(write.run.run_id)

            def again() -> None:
                assert self._tables.write(write) is Written.OK
                assert self._text(write.run.run_id) == text, "a run was changed after it was written"

            self._done.append(again)
            # What the commit does to the run is fixed now; a later statement may not change it.
            self._journal.append(self._database.journal.write(write, self._row(write.run.run_id)))
        return written

    def _row(self, run_id: str) -> Any:
        return self._database.inner._tables.runs[run_id]

    def _text(self, run_id: str) -> str:
        return str(self._row(run_id).text)

    @property
    def slots(self) -> SimulatedSlots:
        return SimulatedSlots(self)

    def insert(
        self,
        run: RunState,
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> bool:
        self._statement("insert")
        self._lock(f"run:{run.run_id}")
        stamp = self._stamp
        fields = {"priority": priority, "admission": admission, "unsent": unsent}
        if not self._tables.insert(run, depth=depth, wake_at=wake_at, **fields):  # type: ignore[arg-type]
            return False

        def again() -> None:
            self._stamp = stamp
            assert self._tables.insert(run, depth=depth, wake_at=wake_at, **fields)  # type: ignore[arg-type]

        self._done.append(again)
        self._journal.append(self._database.journal.insert(run, started_at=stamp))
        return True

    def insert_many(self, runs: Sequence[RunState], **place: Any) -> list[str]:
        return [run.run_id for run in runs if self.insert(run, **place)]

    def lock_keys(self, keys: Iterable[str]) -> None:
        self._statement("lock_keys")
        for key in sorted(set(keys)):
            self._lock(f"key:{key}")

    def add_event(self, event: Event) -> int | None:
        self._statement("add_event")
        self._lock(f"event:{event.event_id}")
        stamp = self._stamp
        seq = self._tables.add_event(event)
        if seq is None:
            return None
        tables = self._database.inner._tables

        def again() -> None:
            self._stamp = stamp
            last, tables.last_event_seq = tables.last_event_seq, seq - 1
            assert self._tables.add_event(event) == seq
            tables.last_event_seq = max(last, seq)

        self._done.append(again)
        self._journal.append(self._database.journal.event(seq, event, added_at=stamp))
        return seq

    def waiting_on(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        return self._statement("waiting_on").waiting_on(keys)

    def next_event(self, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
        return self._statement("next_event").next_event(run_id, keys, since=since)

    def consume(self, run_id: str, wait_key: str, seq: int) -> None:
        self._statement("consume")
        self._lock(f"cursor:{run_id}:{wait_key}")
        self._tables.consume(run_id, wait_key, seq)
        self._done.append(lambda: self._tables.consume(run_id, wait_key, seq))
        self._journal.append(self._database.journal.consume(run_id, wait_key, seq))

    def open_children(self, run_id: str) -> list[str]:
        return self._statement("open_children").open_children(run_id)

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        return self._statement("completed_result").completed_result(run_id, key)
