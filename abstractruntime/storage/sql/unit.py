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
from .inserting import insert_runs
from .rows import checkpoint_of, load, run_columns
from .slots import SqlSlots

__all__ = ["SqlUnit", "UnitContext"]


class SqlUnit:
    """The statements of one unit, on whatever transaction the session is in. See `checkpoints.Unit`."""

    __slots__ = ("_locked", "_now", "_session")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._now: float | None = None
        # Rows that this unit has locked and not written: nobody else can change them meanwhile.
        self._locked: dict[str, Any] = {}

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
        return write_run(self._session, write)

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
        inbox.lock_keys(self._session, keys)

    def add_event(self, event: Event) -> int | None:
        return inbox.add_event(self._session, event)

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
        inbox.consume(self._session, run_id, wait_key, seq)

    def open_children(self, run_id: str) -> list[str]:
        rows = self._session.execute(sql.OPEN_CHILDREN, {"run_id": run_id}).fetchall()
        return [row[0] for row in rows]

    def completed_result(self, run_id: str, key: str) -> PriorResult | None:
        row = self._session.execute(sql.COMPLETED_RECORD, {"run_id": run_id, "key": key}).fetchone()
        return None if row is None else PriorResult(decode(row[0]).get("result"))


class UnitContext:
    """Begins a transaction, commits it at the end, undoes it on an exception."""

    __slots__ = ("_transaction",)

    def __init__(self, database: Database) -> None:
        self._transaction = database.transaction()

    def __enter__(self) -> SqlUnit:
        return SqlUnit(self._transaction.__enter__())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._transaction.__exit__(kind, error, trace)
