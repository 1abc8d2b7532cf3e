"""The contract's ledger store over a SQL database (`spec/02 §6.4`)."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from abstractruntime.core.models import StepRecord

from ..base import LedgerStore, RecordDicts
from ..checkpoints import PriorResult
from ..json_text import decode
from ..ledger_metrics import Metrics, add_completed, wanted_ids
from . import deletion
from . import door_statements as sql
from .engine import Database
from .ledger_appends import append_after_head, record_params
from .statements import LEDGER_AFTER

__all__ = ["SqlLedgerStore"]

logger = logging.getLogger(__name__)

CHUNK = 900


class SqlLedgerStore(LedgerStore):
    """Journals in SQLite or PostgreSQL: positions from 1 without gaps, whoever appends at the same time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def lock_domain(self) -> object:
        """The same object for all stores of this database."""
        return self._database.lock_domain

    def atomic(self) -> AbstractContextManager[None]:
        """All writes of this thread to this database, runs and ledgers, commit together or not at all."""
        return self._database.atomic()

    def after_commit(self, call: Callable[[], None]) -> bool:
        """See `Database.after_commit`."""
        return self._database.after_commit(call)

    @contextmanager
    def appending(self, run_id: str) -> Iterator[None]:
        """One transaction in which nobody else who asks for this appends to the run, so that what `last` says
        stays true until the context ends."""
        with self._database.atomic():
            if self._database.dialect.name == "postgresql":
                # The run's row first, as writers of runs take it: two orders would be a deadlock. A ledger
                # without a run has no row.
                params = {"run_id": run_id}
                self._database.write_once(lambda session: session.execute(sql.LOCK_RUN, params).fetchone())
                self._database.write_once(lambda session: session.execute(sql.LOCK_LEDGER, params).fetchone())
            yield

    def append(self, record: StepRecord) -> None:
        """Append the record as it is now, in one transaction.

        Raises:
            ValueError: blank run id, or a value that contains itself.
            TypeError: the record holds something that has no JSON form.
            IntegrityError: (the driver's) the next position is taken, so the run's head is damaged.
        """
        params = record_params(record)
        if self._database.dialect.name == "postgresql":
            self._database.write_once(lambda session: session.execute(sql.APPEND, params))
            return
        with self._database.transaction() as session:
            append_after_head(self._database, session, params)

    def list(self, run_id: str) -> RecordDicts:
        """The run's records by position. Damaged rows are left out and reported in the log."""
        rows = self._database.read(
            lambda session: session.execute(sql.RECORDS, {"run_id": run_id}).fetchall()
        )
        return _readable(run_id, rows)

    def list_after(self, *, run_id: str, after: int, limit: int = 1000) -> tuple[RecordDicts, int]:
        """Records with a position beyond ``after``, at most ``limit`` (0 and ``None`` mean 1000, negatives
        1), and the last position read (``after`` if there was none)."""
        params = {"run_id": run_id, "after": after, "limit": max(1, limit or 1000)}
        rows = self._database.read(lambda session: session.execute(LEDGER_AFTER, params).fetchall())
        return _readable(run_id, rows), int(rows[-1][0]) if rows else after

    def delete(self, run_id: str) -> bool:
        """See `run_trees.DeletableLedgerStore.delete`."""
        return self.delete_many([run_id]) > 0

    def delete_many(self, run_ids: Sequence[str]) -> int:
        """Remove the journals of these runs in one transaction; how many records they had."""
        with self._database.transaction() as session:
            return deletion.delete_ledgers(session, run_ids)

    def last(self, run_id: str) -> dict[str, Any] | None:
        """The run's newest record, or ``None``."""
        rows = self._database.read(
            lambda session: session.execute(sql.LAST_RECORD, {"run_id": run_id}).fetchall()
        )
        return next(iter(_readable(run_id, rows)), None)

    def count(self, run_id: str) -> int:
        """Number of the run's records, from its head."""
        return self._counts([run_id]).get(run_id, 0)

    def count_many(self, run_ids: Iterable[str]) -> dict[str, int]:
        """Number of records by run; unknown runs are left out."""
        wanted = wanted_ids(run_ids)
        counts: dict[str, int] = {}
        for start in range(0, len(wanted), CHUNK):
            counts.update(self._counts(wanted[start : start + CHUNK]))
        return counts

    def _counts(self, run_ids: Sequence[str]) -> dict[str, int]:
        is_sqlite = self._database.dialect.name == "sqlite"
        params: dict[str, object] = {"run_ids": json.dumps(run_ids) if is_sqlite else [*run_ids]}
        rows = self._database.read(lambda session: session.execute(sql.COUNTS, params).fetchall())
        return {run_id: int(count) for run_id, count in rows}

    def metrics_many(self, run_ids: Iterable[str]) -> dict[str, Metrics]:
        """``steps, llm_calls, tool_calls, tokens_total`` by run with at least one completed record."""
        metrics: dict[str, Metrics] = {}
        for run_id in wanted_ids(run_ids):
            rows = self._database.read(
                lambda session, run_id=run_id: session.execute(  # type: ignore[misc]
                    sql.COMPLETED_OF, {"run_id": run_id}
                ).fetchall()
            )
            for record in _readable(run_id, [row[1:] for row in rows]):
                add_completed(metrics, run_id, record)
        return metrics

    def find_completed(self, run_id: str, key: str) -> PriorResult | None:
        """The result of the first COMPLETED record with this idempotency key, by index."""
        params = {"run_id": run_id, "key": key}
        rows = self._database.read(lambda session: session.execute(sql.COMPLETED_RECORDS, params).fetchall())
        return PriorResult(decode(min(rows)[1]).get("result")) if rows else None


def _readable(run_id: str, rows: Iterable[Any]) -> RecordDicts:
    """One damaged row must not hide the others; it is reported."""
    records: RecordDicts = []
    for seq, text in rows:
        try:
            record = decode(text)
        except ValueError:
            record = None
        if isinstance(record, dict):
            records.append(record)
        else:
            logger.warning("record %s of run '%s' is damaged and left out", seq, run_id)
    return records
