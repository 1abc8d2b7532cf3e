"""What ends a step, on a SQLite file, with as few statements and pages as it takes. See `StepWriter`."""

from __future__ import annotations

from abstractruntime.core.models import RunState, StepRecord

from . import door_statements as sql
from .driver import Parameters
from .engine import Database
from .ledger_appends import append_after_head, record_params
from .rows import state_columns

__all__ = ["SqliteStepWriter"]


class SqliteStepWriter:
    """Writes runs and ledger of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def encoded(self, record: StepRecord) -> Parameters:
        return record_params(record)

    def end(self, record: Parameters | None, run: RunState, *, version: int) -> int | None:
        params = state_columns(run)
        params["version"] = version
        with self._database.transaction() as session:
            if not session.execute(sql.SWAP_RUNNING, params).rowcount:
                return None
            if record is not None:
                append_after_head(self._database, session, record)
        return version + 1
