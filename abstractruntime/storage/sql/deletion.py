"""Removing runs, ledgers and events, many at a time (`spec/02 §15` P-8).

What is removed is locked first, and what somebody else holds is left alone: nobody ever waits for a purge,
and a purge waits for nobody.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from abstractruntime.core.models import RunStatus

from ..run_trees import RunMark, RunTrees
from . import statements as sql
from .driver import Parameters, Session
from .engine import Database

__all__ = [
    "count_expired_events",
    "count_snapshots",
    "delete_artifacts",
    "delete_expired_events",
    "delete_ledgers",
    "delete_runs",
    "delete_snapshots",
    "lock_ended",
    "measure_artifacts",
    "oldest_roots",
    "trees",
]

CHUNK = 1000

_IDS = "(SELECT value FROM json_each(:run_ids))"


def _by_ids(text: str) -> sql.Statement:
    """``{ids}`` becomes the set of ``:run_ids`` as each driver passes it."""
    return sql.statement(
        text.replace("= {ids}", f"IN {_IDS}"), postgresql=text.replace("= {ids}", "= ANY(:run_ids)")
    )


_OLDEST_ROOTS = sql.statement("""
SELECT updated_at, run_id, status FROM runs r
WHERE status = :status AND updated_at < :before AND updated_at > ''
    AND (updated_at, run_id) > (:after_time, :after_id)
    AND NOT EXISTS (SELECT 1 FROM runs p WHERE p.run_id = r.parent_run_id)
ORDER BY updated_at, run_id LIMIT :limit
""")
_TREES = _by_ids("""
WITH RECURSIVE tree (root_id, run_id, level) AS (
    SELECT run_id, run_id, 0 FROM runs WHERE run_id = {ids}
    UNION ALL
    SELECT tree.root_id, r.run_id, tree.level + 1 FROM tree JOIN runs r ON r.parent_run_id = tree.run_id
    WHERE r.run_id <> r.parent_run_id
)
SELECT tree.root_id, r.updated_at, r.run_id, r.status FROM tree JOIN runs r ON r.run_id = tree.run_id
ORDER BY tree.level DESC, r.run_id
""")
_ENDED = """
SELECT run_id, updated_at FROM runs
WHERE run_id = {ids} AND status IN ('completed', 'failed', 'cancelled')
"""
_LOCK_ENDED = sql.Statement(
    _by_ids(_ENDED).sqlite, _by_ids(_ENDED + " ORDER BY run_id FOR UPDATE SKIP LOCKED").postgresql
)
# A ledger that outlives its run keeps its head (on SQLite it always has one).
_KEEP_HEADS = _by_ids("""
INSERT INTO ledger_heads (run_id, last_seq)
SELECT run_id, ledger_seq FROM runs WHERE run_id = {ids} AND ledger_seq > 0
ON CONFLICT (run_id) DO UPDATE SET last_seq = greatest(ledger_heads.last_seq, excluded.last_seq)
""")
_BESIDE_RUNS = ("wait_keys", "event_cursors", "limit_slots")
_DELETE_BESIDE = [_by_ids(f"DELETE FROM {table} WHERE run_id = {{ids}}") for table in _BESIDE_RUNS]
_DELETE_TIMED_WAITS = _by_ids("DELETE FROM wait_index WHERE run_id = {ids}")
_DELETE_RUNS = _by_ids("DELETE FROM runs WHERE run_id = {ids}")
_DELETE_RECORDS = _by_ids("DELETE FROM ledger WHERE run_id = {ids}")
_DELETE_HEADS = _by_ids("DELETE FROM ledger_heads WHERE run_id = {ids}")
_RESET_HEADS = _by_ids("UPDATE runs SET ledger_seq = 0 WHERE run_id = {ids} AND ledger_seq > 0")
_MEASURE_ARTIFACTS = _by_ids(
    "SELECT count(*), COALESCE(sum(size_bytes), 0) FROM artifacts WHERE run_id = {ids}"
)
_DELETE_ARTIFACTS = _by_ids("DELETE FROM artifacts WHERE run_id = {ids}")
_COUNT_SNAPSHOTS = _by_ids("SELECT count(*) FROM snapshots WHERE run_id = {ids}")
_DELETE_SNAPSHOTS = _by_ids("DELETE FROM snapshots WHERE run_id = {ids}")
# An event that has not expired may still be consumed, however old it is.
_EXPIRED = "expires_at <= {now} AND added_at < :added_before"
_COUNT_EVENTS = sql.statement(f"SELECT count(*) FROM events WHERE {_EXPIRED}")
_SOME_EVENTS = f"SELECT seq FROM events WHERE {_EXPIRED} ORDER BY expires_at LIMIT :limit"
_DELETE_EVENTS = sql.statement(
    f"DELETE FROM events WHERE seq IN ({_SOME_EVENTS})",
    postgresql=f"DELETE FROM events WHERE seq IN ({_SOME_EVENTS} FOR UPDATE SKIP LOCKED)",
)


def oldest_roots(
    database: Database, *, status: RunStatus, updated_before: str, after: RunMark | None, limit: int
) -> list[RunMark]:
    """See `run_trees.PurgeableRunStore.list_oldest_roots`."""
    if limit <= 0:
        return []
    params: Parameters = {
        "status": status.value,
        "before": updated_before,
        "after_time": "" if after is None else after.updated_at,
        "after_id": "" if after is None else after.run_id,
        "limit": limit,
    }
    rows = database.read(lambda session: session.execute(_OLDEST_ROOTS, params).fetchall())
    return [RunMark(*row) for row in rows]


def trees(database: Database, root_ids: Sequence[str]) -> RunTrees:
    """See `run_trees.PurgeableRunStore.list_trees`."""
    rows = database.read(lambda session: session.execute(_TREES, _ids(session, root_ids)).fetchall())
    found: RunTrees = {}
    for root_id, updated_at, run_id, status in rows:
        found.setdefault(root_id, []).append(RunMark(updated_at or "", run_id, status))
    return found


def lock_ended(session: Session, run_ids: Sequence[str]) -> dict[str, str]:
    """Those of the runs that have ended, with their ``updated_at``, locked until the transaction ends; what
    somebody else has locked is left out."""
    found: dict[str, str] = {}
    for part in _parts(run_ids):
        rows = session.execute(_LOCK_ENDED, _ids(session, part)).fetchall()
        found.update((run_id, updated_at or "") for run_id, updated_at in rows)
    return found


def delete_runs(session: Session, run_ids: Sequence[str]) -> int:
    """Remove the runs, what they wait for and what they have consumed; how many there were."""
    removed = 0
    for part in _parts(run_ids):
        ids = _ids(session, part)
        on_sqlite = session.dialect.name == "sqlite"
        for statement in _DELETE_BESIDE:
            session.execute(statement, ids)
        session.execute(_DELETE_TIMED_WAITS if on_sqlite else _KEEP_HEADS, ids)
        removed += session.execute(_DELETE_RUNS, ids).rowcount
    return removed


def delete_ledgers(session: Session, run_ids: Sequence[str]) -> int:
    """Remove the runs' ledgers; how many records there were."""
    removed = 0
    for part in _parts(run_ids):
        ids = _ids(session, part)
        session.execute(_RESET_HEADS, ids)
        session.execute(_DELETE_HEADS, ids)
        removed += session.execute(_DELETE_RECORDS, ids).rowcount
    return removed


def measure_artifacts(database: Database, run_ids: Sequence[str]) -> tuple[int, int]:
    """How many artifacts the runs have, and the sum of their sizes in bytes."""
    found = [_row(database, _MEASURE_ARTIFACTS, part) for part in _parts(run_ids)]
    return sum(int(count) for count, _ in found), sum(int(size) for _, size in found)


def delete_artifacts(database: Database, run_ids: Sequence[str]) -> int:
    """Remove the runs' artifacts (their contents stay until gc); how many there were."""
    return _delete(database, _DELETE_ARTIFACTS, run_ids)


def count_snapshots(database: Database, run_ids: Sequence[str]) -> int:
    """How many snapshots there are of the runs."""
    return sum(int(_row(database, _COUNT_SNAPSHOTS, part)[0]) for part in _parts(run_ids))


def delete_snapshots(database: Database, run_ids: Sequence[str]) -> int:
    """Remove the runs' snapshots; how many there were."""
    return _delete(database, _DELETE_SNAPSHOTS, run_ids)


def _row(database: Database, query: sql.Statement, run_ids: Sequence[str]) -> Sequence[int]:
    row: Sequence[int] = database.read(
        lambda session: session.execute(query, _ids(session, run_ids)).fetchone()
    )
    return row


def _delete(database: Database, statement: sql.Statement, run_ids: Sequence[str]) -> int:
    with database.transaction() as session:
        return sum(session.execute(statement, _ids(session, part)).rowcount for part in _parts(run_ids))


def count_expired_events(database: Database, *, added_before: float) -> int:
    """See `SqlCheckpointStore.count_expired_events`."""
    params = {"added_before": added_before}
    return int(database.read(lambda session: session.execute(_COUNT_EVENTS, params).fetchone())[0])


def delete_expired_events(database: Database, *, added_before: float, limit: int) -> int:
    """See `SqlCheckpointStore.delete_expired_events`."""
    with database.transaction() as session:
        params = {"added_before": added_before, "limit": limit}
        return session.execute(_DELETE_EVENTS, params).rowcount


def _parts(run_ids: Sequence[str]) -> list[Sequence[str]]:
    return [run_ids[start : start + CHUNK] for start in range(0, len(run_ids), CHUNK)]


def _ids(session: Session, run_ids: Sequence[str]) -> Parameters:
    return {"run_ids": json.dumps([*run_ids]) if session.dialect.name == "sqlite" else [*run_ids]}
