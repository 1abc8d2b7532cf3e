"""The contract's run store over a SQL database (`spec/02 §6.3`).

What is saved here belongs to the process that saves it: the fleet's wake-up is cleared, so that no worker
picks the run up. The version grows with every save, so a fleet's commit in flight is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from math import inf
from typing import Any

from abstractruntime.core.errors import CorruptCheckpointError, InvalidInputError
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.times import parse_time

from ..base import DEFAULT_LIMIT, RunStore
from ..checkpoints import RunFilter
from ..due_runs import DueRun, wake_time
from ..run_index import index_limit, stripped, wanted_rows
from ..run_status import with_status_member
from ..run_trees import RunMark, RunTrees, check_ended
from . import deletion
from . import door_statements as sql
from .commit import set_wait_tables
from .driver import Parameters, Session
from .engine import Database
from .ledger_store import SqlLedgerStore
from .listing import conditions_of
from .rows import decode_run, run_columns, state_columns, wait_keys
from .statements import CLEAR_TIMED_WAIT, CLEAR_WAIT_KEYS, statement
from .step_writer import SqliteStepWriter

__all__ = ["SqlRunStore"]

logger = logging.getLogger(__name__)


class SqlRunStore(RunStore):
    """Checkpoints in SQLite or PostgreSQL. Also a `QueryableRunStore` and `QueryableRunIndexStore`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, run: RunState) -> None:
        """Insert or replace the checkpoint in one transaction.

        Raises:
            InvalidInputError: the run's id is blank or has outer blanks, its status is none, or its state
                contains itself.
            TypeError: the state holds something that has no JSON form.
        """
        if not run.run_id or run.run_id != run.run_id.strip():
            raise InvalidInputError(
                f"run_id {run.run_id!r} can't be stored: it must be non-empty and without outer blanks"
            )
        if run.status.__class__ is not RunStatus:
            run = with_status_member(run)
        params = {**run_columns(run), "due_at": wake_time(run)}
        if self._database.dialect.name == "postgresql" and not wait_keys(run):
            self._database.write_once(lambda session: session.execute(sql.SAVE_RUN, params))
            return
        with self._database.transaction() as session:
            session.execute(sql.SAVE_RUN, params)
            _replace_wait(session, run)

    def swap(self, run: RunState, *, before: RunState, version: int) -> int | None:
        """Replace the checkpoint ``before`` if the stored one still has this `version_of`; the new version,
        or ``None`` if somebody else has written meanwhile.

        Raises:
            TypeError, InvalidInputError: the state holds something that has no JSON form.
        """
        if run.status.__class__ is not RunStatus:
            run = with_status_member(run)
        params = {**state_columns(run), "version": version, "due_at": wake_time(run)}
        if self._database.dialect.name == "postgresql" and not (wait_keys(before) or wait_keys(run)):
            won = self._database.write_once(lambda session: _swap(session, before, run, params))
            return version + 1 if won else None
        with self._database.transaction() as session:
            if not _swap(session, before, run, params):
                return None
            set_wait_tables(session, before, run)
        return version + 1

    @property
    def lock_domain(self) -> object:
        """The same object for all stores of this database: what one driver locks, all see locked."""
        return self._database.lock_domain

    def atomic(self) -> AbstractContextManager[None]:
        """All writes of this thread to this database, runs and ledgers, commit together or not at all."""
        return self._database.atomic()

    def step_writer(self, ledger: object) -> SqliteStepWriter | None:
        """See `core.step_writer.StepWriter`; ``None`` unless both are the same SQLite file's."""
        if not isinstance(ledger, SqlLedgerStore) or ledger.lock_domain is not self.lock_domain:
            return None
        return SqliteStepWriter(self._database) if self._database.dialect.name == "sqlite" else None

    def load(self, run_id: str) -> RunState | None:
        """A fresh object, or ``None`` when the id is unknown or blank.

        Raises:
            CorruptCheckpointError: the stored state can't be decoded.
        """
        wanted = run_id.strip()
        if not wanted:
            return None
        row = self._database.read(
            lambda session: session.execute(sql.RUN_TEXT, {"run_id": wanted}).fetchone()
        )
        return None if row is None else decode_run(wanted, row[0])

    def version_of(self, run_id: str) -> int:
        """Grows with every save of the run; 0 when it is unknown."""
        row = self._database.read(
            lambda session: session.execute(sql.RUN_VERSION, {"run_id": run_id}).fetchone()
        )
        return 0 if row is None else int(row[0])

    def delete(self, run_id: str, *, force: bool = False) -> bool:
        """See `run_trees.PurgeableRunStore.delete`."""
        with self._database.transaction() as session:
            row = session.execute(sql.RUN_STATUS, {"run_id": run_id}).fetchone()
            if row is None:
                return False
            if not force:
                check_ended(run_id, row[0])
            return deletion.delete_runs(session, [run_id]) > 0

    def delete_many(self, run_ids: Sequence[str]) -> int:
        """Remove runs whatever their status, in one transaction; how many there were."""
        with self._database.transaction() as session:
            return deletion.delete_runs(session, run_ids)

    def lock_ended(self, run_ids: Sequence[str]) -> dict[str, str]:
        """Inside `atomic`: those of the runs that have ended and that nobody else has locked, with their
        ``updated_at``. Nobody can change them until the transaction ends."""
        with self._database.transaction() as session:
            return deletion.lock_ended(session, run_ids)

    def list_oldest_roots(
        self, *, status: RunStatus, updated_before: str, after: RunMark | None = None, limit: int = 100
    ) -> list[RunMark]:
        """See `run_trees.PurgeableRunStore.list_oldest_roots`."""
        return deletion.oldest_roots(
            self._database, status=status, updated_before=updated_before, after=after, limit=limit
        )

    def list_trees(self, root_ids: Sequence[str]) -> RunTrees:
        """See `run_trees.PurgeableRunStore.list_trees`."""
        return deletion.trees(self._database, root_ids)

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RunState]:
        """See `QueryableRunStore.list_runs`."""
        where = RunFilter(status=status, wait_reason=wait_reason, workflow_id=workflow_id)
        conditions, params = conditions_of(where)
        return self._runs(conditions, params, "updated_at DESC, run_id DESC", wanted_rows(limit))

    def list_due_wait_until(self, *, now_iso: str, limit: int = DEFAULT_LIMIT) -> list[RunState]:
        """See `QueryableRunStore.list_due_wait_until`."""
        conditions = [
            "status = 'waiting'",
            "wait_reason = 'until'",
            "wait_until <> ''",
            "wait_until <= :now_iso",
        ]
        return self._runs(conditions, {"now_iso": now_iso.strip()}, "wait_until, run_id", wanted_rows(limit))

    def list_due(
        self, *, now_iso: str, after: DueRun | None = None, limit: int = DEFAULT_LIMIT
    ) -> list[DueRun]:
        """See `due_runs.DueRunStore.list_due`. Runs of a fleet are left to it."""
        due, run_id = (-inf, "") if after is None else after[:2]
        now = parse_time(now_iso).timestamp()
        params = {"now": now, "due": due, "run_id": run_id, "limit": wanted_rows(limit)}
        rows = self._database.read(lambda session: session.execute(sql.DUE_RUNS, params).fetchall())
        return [DueRun(*row) for row in rows]

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        """See `QueryableRunStore.list_children`."""
        if not parent_run_id.strip():
            return []
        conditions, params = conditions_of(RunFilter(parent_run_id=parent_run_id, status=status))
        return self._runs(conditions, params, "created_at, run_id", None)

    def list_waiting_on(self, *, wait_keys: Iterable[str]) -> list[RunState]:
        """All runs that wait for an event with one of these keys, newest update first."""
        params = {f"key_{i}": key for i, key in enumerate(dict.fromkeys(wait_keys))}
        if not params:
            return []
        condition = sql.waits_for_one_of(len(params))
        return self._runs([condition], params, "updated_at DESC, run_id DESC", None)

    def list_wait_keys(self, *, prefix: str) -> list[str]:
        """All event keys with this beginning that some run waits for."""
        params = {"prefix": prefix, "length": len(prefix)}
        rows = self._database.read(lambda session: session.execute(sql.KEYS_WAITED_FOR, params).fetchall())
        return [str(key) for (key,) in rows]

    def _runs(
        self, conditions: list[str], params: Parameters, order: str, limit: int | None
    ) -> list[RunState]:
        where = " AND ".join(conditions) or "1 = 1"
        text = f"SELECT run_id, run_json FROM runs WHERE {where} ORDER BY {order}"
        wanted = limit
        while True:
            tail = "" if wanted is None else f" LIMIT {wanted:d}"
            rows = self._query(f"{text}{tail}", params)
            found = [run for run in (_readable(*row) for row in rows) if run is not None]
            if limit is None or wanted is None or len(found) == limit or len(rows) < wanted:
                return found
            # Damaged rows don't take the places of readable ones (`spec/02 §15.2`, D-10).
            wanted = limit + len(rows) - len(found)

    def _query(self, text: str, params: Parameters) -> Sequence[Any]:
        query = statement(text)
        return self._database.read(lambda session: session.execute(query, params).fetchall())

    def list_run_index(
        self,
        *,
        status: RunStatus | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        root_only: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> list[dict[str, Any]]:
        """See `QueryableRunIndexStore.list_run_index`."""
        filters = RunFilter(
            status=status, workflow_id=workflow_id, session_id=stripped(session_id), root_only=root_only
        )
        conditions, params = conditions_of(filters)
        where = " AND ".join(conditions) or "1 = 1"
        query = statement(
            f"SELECT {', '.join(sql.INDEX_COLUMNS)} FROM runs WHERE {where} "
            f"ORDER BY updated_at DESC, run_id DESC LIMIT {index_limit(limit):d}"
        )
        rows = self._database.read(lambda session: session.execute(query, params).fetchall())
        return [
            {name: value or None for name, value in zip(sql.INDEX_COLUMNS, row, strict=True)} for row in rows
        ]


def _swap(session: Session, before: RunState, after: RunState, params: Parameters) -> bool:
    stays = before.status is after.status is RunStatus.RUNNING and before.waiting is after.waiting is None
    if stays and session.dialect.name == "sqlite" and session.execute(sql.SWAP_RUNNING, params).rowcount:
        return True
    return session.execute(sql.SWAP_RUN, params).rowcount > 0


def _replace_wait(session: Session, run: RunState) -> None:
    """What the run waited for before is unknown here, so it is cleared first."""
    session.execute(CLEAR_WAIT_KEYS, {"run_id": run.run_id})
    if session.dialect.name == "sqlite":
        session.execute(CLEAR_TIMED_WAIT, {"run_id": run.run_id})
    set_wait_tables(session, None, run)


def _readable(run_id: str, run_json: str) -> RunState | None:
    """One damaged row must not hide the others; it is reported, and `load` raises."""
    try:
        return decode_run(run_id, run_json)
    except CorruptCheckpointError as exc:
        logger.warning("left out of a listing: %s", exc)
        return None
