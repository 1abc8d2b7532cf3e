"""Many new runs in one statement: on PostgreSQL each statement is a round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from abstractruntime.core.models import RunState

from .commit import set_wait_tables
from .driver import Session
from .rows import run_columns
from .statements import statement

__all__ = ["insert_runs"]

AT_ONCE = 500
"""Rows of one statement; their states are all in memory twice."""

_COLUMNS = (
    "run_id",
    "workflow_id",
    "status",
    "wait_reason",
    "wait_until",
    "wait_key",
    "parent_run_id",
    "actor_id",
    "session_id",
    "created_at",
    "updated_at",
    "current_node",
    "run_json",
)
_NAMES = ", ".join(_COLUMNS)
# In the order of the arrays, as with one statement for each: callers sort them, so that two with the same ids
# don't wait for each other.
_INSERT_RUNS = statement(
    "",
    postgresql=f"""
INSERT INTO runs ({_NAMES}, depth, wake_at, inserted_at, priority, admission, redeliveries, ledger_seq)
SELECT {_NAMES}, :depth::int, :wake_at::float8, {{now}}, :priority::int, :admission::text,
       :redeliveries::int, COALESCE((SELECT last_seq FROM ledger_heads h WHERE h.run_id = a.run_id), 0)
FROM unnest({", ".join(f":{name}::text[]" for name in _COLUMNS)}) WITH ORDINALITY AS a ({_NAMES}, n)
ORDER BY n
ON CONFLICT (run_id) DO NOTHING
RETURNING run_id
""",
)


def insert_runs(session: Session, runs: Sequence[RunState], shared: Mapping[str, object]) -> list[str]:
    """PostgreSQL: add the runs, those whose id is taken excepted; the ids of those that were added.

    Args:
        shared: the columns that are the same for all and don't come from the state.
    """
    inserted: list[str] = []
    for first in range(0, len(runs), AT_ONCE):
        some = runs[first : first + AT_ONCE]
        rows = [run_columns(run) for run in some]
        params: dict[str, object] = {name: [row[name] for row in rows] for name in _COLUMNS}
        found = session.execute(_INSERT_RUNS, {**params, **shared}).fetchall()
        added = {row[0] for row in found}
        for run in some:
            if run.waiting is not None and run.run_id in added:
                set_wait_tables(session, None, run)
        inserted += added
    return inserted
