"""Every SQL statement of the run store, named, in both dialects.

Written once with ``:name`` parameters; ``{now}`` stands for the database's clock in epoch seconds,
``{ledger_seq}`` for the position of the last ledger record of run ``:run_id``. The compare-and-swap
(`commit_statement`, `UPDATE_RUN`) is the hot path.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

__all__ = [
    "Statement",
    "claim_due_statement",
    "commit_statement",
    "listeners_statement",
    "next_event_statement",
    "statement",
    "waiting_on_statement",
]

_NOW = {
    "sqlite": "((julianday('now')-2440587.5)*86400.0)",
    "postgresql": "extract(epoch from clock_timestamp())::float8",
}
# On SQLite `ledger_heads` has it, also of a run with a row: an append need not rewrite the row with its
# state. There `runs.ledger_seq` is what the run's last commit knew.
_LEDGER_SEQ = {
    "sqlite": "COALESCE((SELECT last_seq FROM ledger_heads h WHERE h.run_id = :run_id), 0)",
    "postgresql": "ledger_seq",
}
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)(::text\[\])?")


class Statement(NamedTuple):
    """One statement's text for the driver of each database."""

    sqlite: str
    postgresql: str


def statement(sql: str, *, postgresql: str | None = None) -> Statement:
    """The statement for both drivers; ``postgresql`` where the text differs there."""
    other = sql if postgresql is None else postgresql
    return Statement(_filled_in(sql, "sqlite"), _PARAMETER.sub(_placeholder, _filled_in(other, "postgresql")))


def _placeholder(found: re.Match[str]) -> str:
    """psycopg's: arrays in binary, because it escapes every quote of a text array in Python, which for the
    JSON of a tick's records takes longer than all else that is done with them."""
    name, cast = found.groups()
    return f"%({name})b{cast}" if cast else f"%({name})s"


def _filled_in(sql: str, dialect: str) -> str:
    return sql.replace("{now}", _NOW[dialect]).replace("{ledger_seq}", _LEDGER_SEQ[dialect])


BEGIN = statement("BEGIN IMMEDIATE", postgresql="BEGIN")
COMMIT = statement("COMMIT")
ROLLBACK = statement("ROLLBACK")
BEGIN_PART = statement("SAVEPOINT part")
UNDO_PART = statement("ROLLBACK TO SAVEPOINT part")
KEEP_PART = statement("RELEASE SAVEPOINT part")
NOW = statement("SELECT {now}")

# --- runs ------------------------------------------------------------------------------------------------

_LOAD = """
SELECT run_json, version, {ledger_seq}, depth, step_json, attempts, redeliveries, task, wake_at, due_at,
       lease_until, hold_reason, inserted_at, {now}, priority, admission
FROM runs WHERE run_id = :run_id
"""
LOAD = statement(_LOAD)
LOAD_LOCKED = statement(_LOAD, postgresql=_LOAD + " FOR UPDATE")
_LOADED = _LOAD.partition("FROM runs")[0].partition("SELECT")[2]

INSERT_RUN = statement("""
INSERT INTO runs (run_id, workflow_id, status, wait_reason, wait_until, wait_key, parent_run_id, actor_id,
                  session_id, created_at, updated_at, current_node, run_json, depth, wake_at, inserted_at,
                  priority, admission, redeliveries, ledger_seq)
VALUES (:run_id, :workflow_id, :status, :wait_reason, :wait_until, :wait_key, :parent_run_id, :actor_id,
        :session_id, :created_at, :updated_at, :current_node, :run_json, :depth, :wake_at, {now},
        :priority, :admission, :redeliveries,
        COALESCE((SELECT last_seq FROM ledger_heads WHERE run_id = :run_id), 0))
ON CONFLICT (run_id) DO NOTHING
""")

_SET = """
UPDATE runs SET status = :status, wait_reason = :wait_reason, wait_until = :wait_until, wait_key = :wait_key,
    current_node = :current_node, updated_at = {updated_at}, run_json = :run_json, version = version + 1,
    ledger_seq = {ledger_seq} + :appended, step_json = :step_json, attempts = :attempts, redeliveries = 0,
    task = :task, wake_at = :wake_at, due_at = :due_at, lease_until = :lease_until, hold_reason = NULL
WHERE run_id = :run_id AND version = :version
"""
# SQLite writes an index's page for every column that is set, changed or not: a run that stays runnable
# between steps keeps all that is indexed.
_SET_STILL = """
UPDATE runs SET current_node = :current_node, run_json = :run_json, version = version + 1,
    ledger_seq = {ledger_seq} + :appended, step_json = :step_json, attempts = :attempts, redeliveries = 0,
    task = :task, lease_until = :lease_until, hold_reason = NULL
WHERE run_id = :run_id AND version = :version
"""
_UNLESS = """
    AND NOT EXISTS (SELECT 1 FROM ledger WHERE run_id = :run_id AND idempotency_key {keys}
                    AND status = 'completed')
"""
FEW_RECORDS = 4
"""More come as arrays, so that the statement stays short and the same: psycopg translates long ones anew."""

_RECORD_ARRAYS = """
(SELECT n - 1 AS i, json, status, key
 FROM unnest(:jsons::text[], :statuses::text[], :keys::text[])
 WITH ORDINALITY AS a (json, status, key, n)) AS v
"""
_ANY_KEY_SQLITE = "IN (SELECT value FROM json_each(:unless_completed))"
_ANY_KEY_POSTGRESQL = "= ANY(:unless_completed)"
# On PostgreSQL :updated_at is NULL while status and wait stay: the indexed column must not move then.
_SET_SQLITE = _SET.replace("{updated_at}", ":updated_at")
_SET_POSTGRESQL = _SET.replace("{updated_at}", "COALESCE(:updated_at, updated_at)")


@lru_cache(maxsize=128)
def commit_statement(records: int, keys: int, *, still: bool) -> Statement:
    """The compare-and-swap of a run. On PostgreSQL it appends ``records`` ledger records as well, whose
    parameters are ``json_0, status_0, key_0, ...`` or, beyond `FEW_RECORDS`, the arrays ``jsons``,
    ``statuses``, ``keys``; on SQLite it returns the new ledger head and `insert_records` follows.
    ``:unless_completed`` is the one key, or with several ``keys`` an array of them (SQLite: JSON text).
    ``still``: status, wait and times stay. No row: the version moved, or a key is completed."""
    sqlite, postgresql = ("= :unless_completed",) * 2 if keys == 1 else (_ANY_KEY_SQLITE, _ANY_KEY_POSTGRESQL)
    update = _SET_POSTGRESQL + (_UNLESS.replace("{keys}", postgresql) if keys else "")
    if records:
        rows = ", ".join(f"({i}, :json_{i}, :status_{i}, :key_{i}::text)" for i in range(records))
        values = f"(VALUES {rows}) AS v (i, json, status, key)"
        if records > FEW_RECORDS:
            values = _RECORD_ARRAYS
        update = f"""
WITH r AS ({update} RETURNING run_id, ledger_seq)
INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
SELECT r.run_id, r.ledger_seq - :appended + 1 + v.i, v.json, v.status, v.key FROM r, {values}
"""
    guarded = (_SET_STILL if still else _SET_SQLITE) + (_UNLESS.replace("{keys}", sqlite) if keys else "")
    return statement(guarded + " RETURNING ledger_seq", postgresql=update)


@lru_cache(maxsize=128)
def insert_records(records: int) -> Statement:
    """SQLite: the ledger records at ``:first`` and on; parameters as in `commit_statement`."""
    rows = ", ".join(f"(:run_id, :first + {i}, :json_{i}, :status_{i}, :key_{i})" for i in range(records))
    return statement(f"INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key) VALUES {rows}")


INSERT_RECORD = statement("""
INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
VALUES (:run_id, :seq, :json, :status, :key)
""")
SET_HEAD = statement("""
INSERT INTO ledger_heads (run_id, last_seq) VALUES (:run_id, :seq)
ON CONFLICT (run_id) DO UPDATE SET last_seq = excluded.last_seq
""")
SET_TIMED_WAIT = statement("""
INSERT INTO wait_index (run_id, next_due_iso, updated_at_iso, status)
VALUES (:run_id, :wait_until, :updated_at, 'waiting_until')
ON CONFLICT (run_id) DO UPDATE SET next_due_iso = excluded.next_due_iso,
    updated_at_iso = excluded.updated_at_iso, status = excluded.status
""")
CLEAR_TIMED_WAIT = statement("DELETE FROM wait_index WHERE run_id = :run_id")
CLEAR_WAIT_KEYS = statement("DELETE FROM wait_keys WHERE run_id = :run_id")
ADD_WAIT_KEY = statement("""
INSERT INTO wait_keys (run_id, wait_key) VALUES (:run_id, :wait_key) ON CONFLICT DO NOTHING
""")
# "+ 0": ordering by the bare column makes SQLite walk the run's ledger instead of the keys' index.
COMPLETED_RECORD = statement("""
SELECT record_json FROM ledger
WHERE run_id = :run_id AND idempotency_key = :key AND status = 'completed' ORDER BY seq + 0 LIMIT 1
""")
OPEN_CHILDREN = statement("""
SELECT run_id FROM runs WHERE parent_run_id = :run_id AND status IN ('running', 'waiting')
ORDER BY created_at, run_id
""")

# --- leases and wake-ups ---------------------------------------------------------------------------------

# Who has paused the run has taken it out of the wake-up index: no heartbeat puts it back.
_EXTEND_LEASE = """
UPDATE runs SET lease_until = {now} + :seconds,
    wake_at = CASE WHEN wake_at IS NULL THEN NULL ELSE {now} + :seconds END
WHERE run_id = :run_id AND version = :version
"""
EXTEND_LEASE = statement(_EXTEND_LEASE)
EXTEND_LIVE_LEASE = statement(_EXTEND_LEASE + " AND lease_until >= {now} + :seconds / 20.0")
DEFER = statement("""
UPDATE runs SET wake_at = {now} + :seconds, hold_reason = :reason
WHERE run_id = :run_id AND version = :version
""")
PUSH_WAKE_UP = statement("""
UPDATE runs SET wake_at = :wake_at, redeliveries = redeliveries + :redelivered WHERE run_id = :run_id
""")
SOMETHING_DUE = statement("SELECT 1 FROM runs WHERE wake_at <= {now} LIMIT 1")
# SQLite uses this and PUSH_WAKE_UP in one write transaction. Most runs have priority 0 and come in the
# order of the wake-up index; the others have an index of their own.
_DUE_COLUMNS = "run_id, version, current_node, workflow_id, task, due_at, redeliveries"
_DUE_RUNS = """
SELECT {columns}, {now} FROM (
    SELECT * FROM (SELECT {columns}, wake_at AS urgency FROM runs
                   WHERE wake_at <= {now} AND priority = 0 {only} ORDER BY wake_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT {columns}, wake_at - priority * :ageing AS urgency FROM runs
                   WHERE priority <> 0 AND wake_at IS NOT NULL AND wake_at <= {now} {only}
                   ORDER BY urgency LIMIT :limit)
) AS due ORDER BY urgency LIMIT :limit
""".replace("{columns}", _DUE_COLUMNS)
# Of each priority the first: within one, the order of the wake-up times is the order of urgency.
_CLAIM_DUE = """
WITH c AS MATERIALIZED (SELECT {now} AS now),
plain AS MATERIALIZED (
    SELECT run_id, wake_at, wake_at AS urgency FROM runs
    WHERE wake_at <= (SELECT now FROM c) AND priority = 0 {only}
    ORDER BY wake_at LIMIT :limit FOR UPDATE SKIP LOCKED
),
ranked AS MATERIALIZED (
    SELECT r.run_id, r.wake_at, r.wake_at - p.priority * :ageing::float8 AS urgency
    FROM generate_series(:lowest::int, :highest::int) AS p (priority),
    LATERAL (
        SELECT run_id, wake_at FROM runs
        WHERE priority = p.priority AND priority <> 0 AND wake_at <= (SELECT now FROM c) {only}
        ORDER BY wake_at LIMIT :limit FOR UPDATE SKIP LOCKED
    ) AS r
),
due AS (
    SELECT * FROM plain UNION ALL SELECT * FROM ranked ORDER BY urgency LIMIT :limit
)
UPDATE runs SET
    wake_at = greatest(c.now, runs.due_at) + :grace * (2 ^ least(runs.redeliveries, 2)),
    redeliveries = runs.redeliveries + CASE WHEN runs.due_at > c.now THEN 0 ELSE 1 END
FROM due, c WHERE runs.run_id = due.run_id
RETURNING due.urgency, runs.run_id, runs.version, runs.current_node, runs.workflow_id, runs.task,
          greatest(runs.due_at - c.now, 0)
"""


@lru_cache(maxsize=2)
def claim_due_statement(one_task: bool) -> Statement:
    """On PostgreSQL the whole claim, on SQLite the runs to be claimed; ``one_task``: those with ``:task``."""
    only = "AND task = :task" if one_task else ""
    return statement(_DUE_RUNS.replace("{only}", only), postgresql=_CLAIM_DUE.replace("{only}", only))


# --- inbox -----------------------------------------------------------------------------------------------

LOCK_KEYS = statement("", postgresql="SELECT pg_advisory_xact_lock(k) FROM unnest(:keys::bigint[]) AS k")
ADD_EVENT = statement("""
INSERT INTO events (event_id, wait_key, wildcard_key, payload_json, emitter_run_id, added_at, expires_at)
VALUES (:event_id, :wait_key, :wildcard_key, :payload_json, :emitter_run_id, {now}, {now} + :ttl_s)
ON CONFLICT (event_id) DO NOTHING RETURNING seq
""")
CONSUME = statement("""
INSERT INTO event_cursors (run_id, wait_key, seq) VALUES (:run_id, :wait_key, :seq)
ON CONFLICT (run_id, wait_key) DO UPDATE SET seq = excluded.seq WHERE event_cursors.seq < excluded.seq
""")


@lru_cache(maxsize=64)
def waiting_on_statement(keys: int) -> Statement:
    """Runs that wait for an event under one of ``key_0 .. key_n``, alone or among several keys."""
    return statement(_waiting_on(keys))


def _waiting_on(keys: int) -> str:
    names = ", ".join(f":key_{i}" for i in range(keys))
    return f"""
SELECT run_id, wait_key FROM runs
WHERE wait_reason = 'event' AND status = 'waiting' AND wait_key IN ({names})
UNION
SELECT k.run_id, k.wait_key FROM wait_keys k JOIN runs ON runs.run_id = k.run_id
WHERE k.wait_key IN ({names}) AND runs.wait_reason = 'event' AND runs.status = 'waiting'
"""


@lru_cache(maxsize=64)
def listeners_statement(keys: int) -> Statement:
    """PostgreSQL: the first ``:limit`` of them by run id, loaded and locked as `LOAD_LOCKED` does."""
    return statement(f"""
WITH found AS MATERIALIZED ({_waiting_on(keys)} ORDER BY 1, 2 LIMIT :limit)
SELECT runs.run_id, found.wait_key AS matched, {_LOADED}
FROM found JOIN runs ON runs.run_id = found.run_id
WHERE runs.wait_reason = 'event' AND runs.status = 'waiting'
ORDER BY runs.run_id FOR UPDATE OF runs
""")


# A run without a cursor starts just below the events of its own life time: an index probe from the newest
# event down, so that a run does not read through everything a busy key has seen in days. The five minutes
# forgive a database clock that was set back.
_CANDIDATE = """
SELECT * FROM (
    SELECT e.seq AS seq, e.event_id AS event_id, :key_{i} AS matched, e.payload_json AS payload_json,
           {rank} AS rank
    FROM events e
    WHERE e.{column} = :key_{i} AND e.seq > COALESCE(
            (SELECT seq FROM event_cursors WHERE run_id = :run_id AND wait_key = :key_{i}),
            (SELECT o.seq FROM events o WHERE o.{column} = :key_{i} AND o.added_at < :since - 300.0
             ORDER BY o.seq DESC LIMIT 1),
            0)
        AND e.added_at >= :since AND e.expires_at > {now}
        AND (e.emitter_run_id IS NULL OR e.emitter_run_id <> :run_id)
    ORDER BY e.seq LIMIT 1
) AS {column}_{i}
"""


@lru_cache(maxsize=64)
def next_event_statement(keys: int) -> Statement:
    """The first unconsumed event of ``key_0 .. key_n``; a direct match wins over the wildcard."""
    candidates = [
        _CANDIDATE.replace("{i}", str(i)).replace("{column}", column).replace("{rank}", str(2 * i + rank))
        for i in range(keys)
        for rank, column in enumerate(("wait_key", "wildcard_key"))
    ]
    sql = "\nUNION ALL\n".join(candidates) + "\nORDER BY seq, rank LIMIT 1"
    return statement(sql, postgresql=sql.replace(" AS matched", "::text AS matched"))


# --- listings and schedules ------------------------------------------------------------------------------

LEDGER_AFTER = statement("""
SELECT seq, record_json FROM ledger WHERE run_id = :run_id AND seq > :after ORDER BY seq LIMIT :limit
""")
STATUS_COUNTS = statement("SELECT status, count(*) FROM runs GROUP BY status")
ADD_SCHEDULE = statement("""
INSERT INTO schedules (schedule_id, cursor) VALUES (:schedule_id, {now}) ON CONFLICT (schedule_id) DO NOTHING
""")
SCHEDULE_CURSOR = statement("SELECT cursor FROM schedules WHERE schedule_id = :schedule_id")
ADVANCE_SCHEDULE = statement("""
UPDATE schedules SET cursor = :moved WHERE schedule_id = :schedule_id AND cursor = :seen
""")

# --- schema ----------------------------------------------------------------------------------------------

HAS_REVISION = statement(
    "SELECT (SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version')",
    postgresql="SELECT to_regclass('alembic_version')::text",
)
REVISION = statement("SELECT version_num FROM alembic_version")
