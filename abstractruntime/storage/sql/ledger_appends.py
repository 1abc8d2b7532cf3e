"""Appending a record to a run's journal on SQLite: it comes after the head, which follows."""

from __future__ import annotations

import logging

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import StepRecord

from . import door_statements as sql
from .driver import Parameters, Session
from .engine import Database
from .rows import record_row

__all__ = ["append_after_head", "record_params"]

logger = logging.getLogger(__name__)


def record_params(record: StepRecord) -> Parameters:
    """The parameters of the appending statements.

    Raises:
        ValueError: blank run id, or a value that contains itself.
        TypeError: the record holds something that has no JSON form.
    """
    if not record.run_id or not record.run_id.strip():
        raise InvalidInputError("StepRecord.run_id must be non-empty")
    text, status, key = record_row(record)
    return {"run_id": record.run_id, "json": text, "status": status, "key": key}


def append_after_head(database: Database, session: Session, params: Parameters) -> None:
    """Append inside the session's write transaction.

    Raises:
        IntegrityError: (the driver's) the next position is taken, so the run's head is damaged.
    """
    try:
        session.execute(sql.APPEND_AFTER_HEAD, params)
    except database.dialect.integrity_error as exc:
        seq = session.execute(sql.NEXT_SEQ, params).fetchone()[0]
        where = f"(run_id='{params['run_id']}', seq={seq}, db={database.url.database})"
        logger.error("ledger append refused, the head is damaged: %s %s", exc, where)
        raise database.dialect.integrity_error(f"{exc} {where}") from exc
    session.execute(sql.MOVE_HEAD, params)
