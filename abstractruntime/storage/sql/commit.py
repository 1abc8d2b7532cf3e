"""The compare-and-swap of one run with its ledger records: the hot path."""

from __future__ import annotations

from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState

from ..checkpoints import Write, Written
from ..json_text import encode
from ..run_index import due_time
from . import statements as sql
from .driver import Session
from .engine import Database
from .rows import record_row, state_columns, wait_keys

__all__ = ["commit", "set_wait_tables", "write_run"]


def commit(database: Database, write: Write) -> Written:
    """One run's commit in a transaction of its own: a single statement where the database allows it."""
    dialect = database.dialect
    params, rows = _parameters(write, postgresql=dialect.name == "postgresql")
    if dialect.name == "postgresql" and not _changes_wait_keys(write):
        return database.write_once(lambda session: _swap(session, write, params, rows))
    with database.transaction() as session:
        return _write(session, write, params, rows)


def write_run(session: Session, write: Write) -> Written:
    """The same inside a transaction that is open already."""
    params, rows = _parameters(write, postgresql=session.dialect.name == "postgresql")
    return _write(session, write, params, rows)


Row = tuple[str, str, "str | None"]


def _parameters(write: Write, *, postgresql: bool) -> tuple[dict[str, object], list[Row]]:
    """Everything encoded, so that what can't be stored is refused before anything is written."""
    rows = [record_row(record) for record in write.records]
    step = write.step
    params = state_columns(write.run)
    write.run_text = str(params["run_json"])
    if postgresql and not _moves(write.before.run, write.run):
        params["updated_at"] = None
    params["version"] = write.before.version
    params["appended"] = len(rows)
    params["step_json"] = (
        None if step is None else encode(step.to_dict(), f"the step of run '{write.run.run_id}'")
    )
    params["attempts"] = write.attempts
    params["task"] = write.task.value
    params["wake_at"] = write.wake_at
    params["due_at"] = write.due_at
    params["lease_until"] = write.lease_until
    if write.unless_completed:
        params["unless_completed"] = _keys(write.unless_completed, postgresql=postgresql)
    if postgresql and len(rows) > sql.FEW_RECORDS:
        params["jsons"], params["statuses"], params["keys"] = map(list, zip(*rows, strict=True))
        return params, rows
    for i, (json, status, key) in enumerate(rows):
        params[f"json_{i}"] = json
        params[f"status_{i}"] = status
        params[f"key_{i}"] = key
    return params, rows


def _keys(keys: tuple[str, ...], *, postgresql: bool) -> object:
    if len(keys) == 1:
        return keys[0]
    return [*keys] if postgresql else encode([*keys], "idempotency keys")


def _stays(write: Write) -> bool:
    """Whether no indexed column changes."""
    before = write.before
    times_stay = (before.wake_at, before.due_at) == (write.wake_at, write.due_at)
    return times_stay and not _moves(before.run, write.run)


def _moves(before: RunState, after: RunState) -> bool:
    """Whether indexed columns change anyway, so that `updated_at` may as well."""
    if before.status is not after.status:
        return True
    old, new = before.waiting, after.waiting
    if old is None or new is None:
        return old is not new
    return (old.reason, old.wait_key, old.until) != (new.reason, new.wait_key, new.until)


def _changes_wait_keys(write: Write) -> bool:
    return bool(wait_keys(write.before.run) or wait_keys(write.run))


def _write(session: Session, write: Write, params: dict[str, object], rows: list[Row]) -> Written:
    written = _swap(session, write, params, rows)
    if written is Written.OK:
        set_wait_tables(session, write.before.run, write.run)
    return written


def _swap(session: Session, write: Write, params: dict[str, object], rows: list[Row]) -> Written:
    statement = sql.commit_statement(
        min(len(rows), sql.FEW_RECORDS + 1), min(2, len(write.unless_completed)), still=_stays(write)
    )
    try:
        if session.dialect.name == "postgresql":
            won = session.execute(statement, params).rowcount > 0
        else:
            won = _swap_sqlite(session, statement, params, rows)
    except session.dialect.integrity_error as exc:
        raise CorruptCheckpointError(
            f"The ledger of run '{write.run.run_id}' already holds a record at the next position, so its "
            f"head is wrong ({exc}). Nothing was written; repair runs.ledger_seq and ledger_heads."
        ) from exc
    if won:
        return Written.OK
    run_id = write.run.run_id
    is_done = any(
        session.execute(sql.COMPLETED_RECORD, {"run_id": run_id, "key": key}).fetchone()
        for key in write.unless_completed
    )
    return Written.ALREADY_DONE if is_done else Written.CONFLICT


def _swap_sqlite(
    session: Session, statement: sql.Statement, params: dict[str, object], rows: list[Row]
) -> bool:
    swapped = session.execute(statement, params).fetchall()
    if not swapped:
        return False
    if rows:
        head = swapped[0][0]
        params["first"] = head - len(rows) + 1
        session.execute(sql.insert_records(len(rows)), params)
        session.execute(sql.SET_HEAD, {"run_id": params["run_id"], "seq": head})
    return True


def set_wait_tables(session: Session, before: RunState | None, after: RunState) -> None:
    """Keep `wait_keys`, and on SQLite `wait_index`, in step with a run's wait."""
    old_keys = [] if before is None else wait_keys(before)
    new_keys = wait_keys(after)
    if old_keys and old_keys != new_keys:
        session.execute(sql.CLEAR_WAIT_KEYS, {"run_id": after.run_id})
    if new_keys and old_keys != new_keys:
        for key in dict.fromkeys(new_keys):
            session.execute(sql.ADD_WAIT_KEY, {"run_id": after.run_id, "wait_key": key})
    if session.dialect.name != "sqlite":
        return
    until = due_time(after)
    if until is not None:
        session.execute(
            sql.SET_TIMED_WAIT,
            {"run_id": after.run_id, "wait_until": until, "updated_at": after.updated_at},
        )
    elif before is not None and due_time(before) is not None:
        session.execute(sql.CLEAR_TIMED_WAIT, {"run_id": after.run_id})
