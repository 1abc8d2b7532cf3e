"""A transaction over several runs and the inbox."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import Any

from abstractruntime.core.models import RunState

from ..checkpoints import Checkpoint, Event, PriorResult, StoredEvent, Write, Written
from ..json_text import decode
from ..slots import UNSENT
from . import inbox
from . import statements as sql
from .commit import set_wait_tables, write_run
from .driver import Session
from .engine import Database
from .inbox import Consumed
from .inserting import insert_runs
from .rows import checkpoint_of, load, run_columns
from .slots import SqlSlots

__all__ = ["SqlUnit", "UnitContext"]


class SqlUnit:
    """The statements of one unit, on whatever transaction the session is in. See `checkpoints.Unit`.

    On PostgreSQL, where each statement is a round trip, two wait for the next one and become part of it: the
    locks of wait keys for the event that is added, and the consumption of an event for the write of its run.

    Args:
        may_wait: somebody calls `settle` before the transaction is committed.
    """

    __slots__ = ("_consumed", "_keys", "_locked", "_may_wait", "_now", "_open")

    def __init__(self, session: Session, *, may_wait: bool = False) -> None:
        self._open = session
        self._may_wait = may_wait and session.dialect.name == "postgresql"
        self._keys: list[str] = []
        self._consumed: Consumed | None = None
        self._now: float | None = None
        # Rows that this unit has locked and not written: nobody else can change them meanwhile.
        self._locked: dict[str, Any] = {}

    @property
    def _session(self) -> Session:
        """For all other statements: what waited is carried out before them."""
        if self._keys:
            inbox.lock_keys(self._open, self._take_keys())
        consumed, self._consumed = self._consumed, None
        if consumed is not None:
            inbox.consume(self._open, consumed)
        return self._open

    def settle(self) -> None:
        """Carry out what waits for another statement."""
        _ = self._session

    def _take_keys(self) -> list[str]:
        keys, self._keys = self._keys, []
        return keys

    @property
    def now(self) -> float:
        if self._now is None:
            self._now = float(self._session.execute(sql.NOW).fetchone()[0])
        return self._now

    def load(self, run_id: str) -> Checkpoint | None:
        row = self._locked.pop(run_id, None)
        if row is None:
            checkpoint = load(self._session, run_id, sql.LOAD_LOCKED)
        else:
            checkpoint = checkpoint_of(run_id, row)
        if checkpoint is not None and self._now is None:
            self._now = checkpoint.now
        return checkpoint

    def write(self, write: Write) -> Written:
        self._locked.pop(write.run.run_id, None)
        consumed = self._consumed
        if self._keys or consumed is None or consumed.run_id != write.run.run_id:
            return write_run(self._session, write)
        self._consumed = None
        return write_run(self._open, write, consumed)

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
        params = run_columns(run)
        params["depth"] = depth
        params["wake_at"] = wake_at
        params["priority"] = priority
        params["admission"] = admission
        params["redeliveries"] = UNSENT if unsent else 0
        if self._session.execute(sql.INSERT_RUN, params).rowcount != 1:
            return False
        if run.waiting is not None:
            set_wait_tables(self._session, None, run)
        return True

    def insert_many(
        self,
        runs: Sequence[RunState],
        *,
        depth: int,
        wake_at: float | None,
        priority: int = 0,
        admission: str | None = None,
        unsent: bool = False,
    ) -> list[str]:
        if len(runs) == 1 or self._session.dialect.name != "postgresql":
            place = partial(self.insert, depth=depth, wake_at=wake_at, priority=priority, admission=admission)
            return [run.run_id for run in runs if place(run, unsent=unsent)]
        shared: dict[str, object] = {
            "depth": depth,
            "wake_at": wake_at,
            "priority": priority,
            "admission": admission,
            "redeliveries": UNSENT if unsent else 0,
        }
        return insert_runs(self._session, runs, shared)

    @property
    def slots(self) -> SqlSlots:
        self._locked = {}  # what follows may write runs, too
        return SqlSlots(self._session)

    def lock_keys(self, keys: Iterable[str]) -> None:
        session = self._session
        if self._may_wait:
            self._keys = [*keys]
        elif session.dialect.name == "postgresql":
            inbox.lock_keys(session, keys)

    def add_event(self, event: Event) -> int | None:
        if self._consumed is not None or not self._keys:
            return inbox.add_event(self._session, event)
        return inbox.add_event(self._open, event, locking=self._take_keys())

    def waiting_on(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        keys = list(keys)
        if self._session.dialect.name == "postgresql":
            found = inbox.listeners(self._session, keys)
            if found is not None:
                matched, self._locked = found
                return matched
        return inbox.waiting_on(self._session, keys)

    def next_event(self, run_id: str, keys: Sequence[str], *, since: float) -> StoredEvent | None:
        return inbox.next_event(self._session, run_id, keys, since=since)

    def consume(self, run_id: str, wait_key: str, seq: int) -> None:
        session, consumed = self._session, Consumed(run_id, wait_key, seq)
        if self._may_wait:
            self._consumed = consumed
        else:
            inbox.consume(session, consumed)

    def open_children(self, run_id: str) -> list[str]:
        rows = self._session.execute(sql.OPEN_CHILDREN, {"run_id": run_id}).fetchall()
        return [row[0] for row in rows]

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        row = self._session.execute(sql.COMPLETED_RECORD, {"run_id": run_id, "key": key}).fetchone()
        return None if row is None else PriorResult(decode(row[0]).get("result"))


class UnitContext:
    """Begins a transaction, commits it at the end, undoes it on an exception."""

    __slots__ = ("_transaction", "_unit")

    def __init__(self, database: Database) -> None:
        self._transaction = database.transaction()

    def __enter__(self) -> SqlUnit:
        self._unit = SqlUnit(self._transaction.__enter__(), may_wait=True)
        return self._unit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            try:
                self._unit.settle()
            except BaseException as exc:
                self._transaction.__exit__(type(exc), exc, exc.__traceback__)
                raise
        self._transaction.__exit__(kind, error, trace)
