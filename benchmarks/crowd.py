"""Many waiting runs at once: copies of one real run, made inside PostgreSQL, each with its own id and wait.

The run to copy was started and parked by the fleet itself, and its ledger is copied with it, so that every
copy goes on like a run of its own when it is woken.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

__all__ = ["EVENT_KEY", "Crowd", "due_text", "multiply"]

EVENT_KEY = "crowd:{}"
"""Wait key of the copy with a number; the run to copy waits for number 0."""

_ISO = """to_char(to_timestamp({}) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')"""
_NUMBERED = f"""
SELECT i, md5(:run_id || i)::uuid::text AS run_id, :key || i AS wait_key,
       CAST(:due AS float8) + i * CAST(:apart AS float8) AS due_at,
       {_ISO.format("CAST(:due AS float8) + i * CAST(:apart AS float8)")} AS wait_until,
       {_ISO.format("t.inserted_at + i * 0.000001")} AS updated_at
FROM runs t, generate_series(CAST(:first AS bigint), CAST(:last AS bigint)) AS i WHERE t.run_id = :run_id
"""
# The text of the run to copy, with its own words exchanged.
_OWN = "replace(replace({}, t.run_id, n.run_id), t.updated_at, n.updated_at)"
_EVENT = f"""replace({_OWN}, '"' || t.wait_key || '"', '"' || n.wait_key || '"')"""
_TIMED = f"replace({_OWN}, t.wait_until, n.wait_until)"
_COLUMNS = """workflow_id, status, wait_reason, created_at, version, current_node, ledger_seq, depth,
attempts, redeliveries, task, inserted_at"""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Copies number ``first`` to ``last``; of a timer, copy ``i`` is due at ``due_at + i * apart_s``."""

    run_id: str
    first: int
    last: int
    due_at: float = 0.0
    apart_s: float = 0.0
    horizon_s: float = 30.0


def due_text(due_at: float) -> str:
    """Epoch seconds as the kernel writes a wait's end."""
    return (datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=due_at)).isoformat(
        timespec="microseconds"
    )


def multiply(database_url: str, *crowds: Crowd) -> None:
    """Make the copies, then do what a server does by itself in time: vacuum, analyze, write its buffers."""
    engine = create_engine(database_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for crowd in crowds:
            values = {
                "run_id": crowd.run_id,
                "first": crowd.first,
                "last": crowd.last,
                "due": crowd.due_at,
                "apart": crowd.apart_s,
                "horizon": crowd.horizon_s,
                "key": EVENT_KEY.format(""),
            }
            reason = "SELECT wait_reason FROM runs WHERE run_id = :run_id"
            timed = connection.execute(text(reason), values).scalar_one() == "until"
            for statement in _statements(timed):
                connection.execute(text(statement), values)
        connection.execute(text("VACUUM ANALYZE"))
        connection.execute(text("CHECKPOINT"))
    engine.dispose()


def _statements(timed: bool) -> tuple[str, str]:
    own = _TIMED if timed else _EVENT
    wait = "n.due_at - :horizon, n.due_at, NULL, n.wait_until" if timed else "NULL, NULL, n.wait_key, NULL"
    run = ", ".join(f"t.{name.strip()}" for name in _COLUMNS.split(","))
    runs = f"""
INSERT INTO runs (run_id, wake_at, due_at, wait_key, wait_until, updated_at, run_json, {_COLUMNS})
SELECT n.run_id, {wait}, n.updated_at, {own.format("t.run_json")}, {run}
FROM runs t, ({_NUMBERED}) n WHERE t.run_id = :run_id
"""
    ledger = f"""
INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
SELECT n.run_id, l.seq, {own.format("l.record_json")}, l.status, l.idempotency_key
FROM runs t, ledger l, ({_NUMBERED}) n WHERE t.run_id = :run_id AND l.run_id = :run_id
"""
    return runs, ledger
