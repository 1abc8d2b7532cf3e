"""SQL statements of the contract's run and ledger stores. See `statements.py` for the notation."""

from __future__ import annotations

from .statements import statement

__all__ = ["INDEX_COLUMNS", "waits_for_one_of"]

INDEX_COLUMNS = (
    "run_id",
    "workflow_id",
    "status",
    "wait_reason",
    "wait_until",
    "parent_run_id",
    "actor_id",
    "session_id",
    "created_at",
    "updated_at",
)

_SAVE_RUN = """
INSERT INTO runs (run_id, workflow_id, status, wait_reason, wait_until, wait_key, parent_run_id, actor_id,
                  session_id, created_at, updated_at, current_node, run_json, due_at, depth, ledger_seq,
                  inserted_at)
VALUES (:run_id, :workflow_id, :status, :wait_reason, :wait_until, :wait_key, :parent_run_id, :actor_id,
        :session_id, :created_at, :updated_at, :current_node, :run_json, :due_at,
        COALESCE((SELECT depth + 1 FROM runs p WHERE p.run_id = :parent_run_id), 0),
        COALESCE((SELECT last_seq FROM ledger_heads h WHERE h.run_id = :run_id), 0), {now})
ON CONFLICT (run_id) DO UPDATE SET
    workflow_id = excluded.workflow_id, status = excluded.status, wait_reason = excluded.wait_reason,
    wait_until = excluded.wait_until, wait_key = excluded.wait_key, parent_run_id = excluded.parent_run_id,
    actor_id = excluded.actor_id, session_id = excluded.session_id, created_at = excluded.created_at,
    updated_at = excluded.updated_at, current_node = excluded.current_node, run_json = excluded.run_json,
    version = runs.version + 1, wake_at = NULL, due_at = excluded.due_at, lease_until = NULL,
    step_json = NULL, attempts = 0, redeliveries = 0, task = 'tick', hold_reason = NULL
"""
SAVE_RUN = statement(
    _SAVE_RUN, postgresql="WITH gone AS (DELETE FROM wait_keys WHERE run_id = :run_id)" + _SAVE_RUN
)
# What `swap` writes: the rest of a run's columns never changes after its first save.
SWAP_RUN = statement("""
UPDATE runs SET status = :status, wait_reason = :wait_reason, wait_until = :wait_until, wait_key = :wait_key,
    current_node = :current_node, updated_at = :updated_at, run_json = :run_json, version = version + 1,
    wake_at = NULL, due_at = :due_at, lease_until = NULL, step_json = NULL, attempts = 0, redeliveries = 0,
    task = 'tick', hold_reason = NULL
WHERE run_id = :run_id AND version = :version
""")
# The same for a run that goes on. SQLite writes an index's page for every column that is set, changed or not.
SWAP_RUNNING = statement("""
UPDATE runs SET current_node = :current_node, updated_at = :updated_at, run_json = :run_json,
    version = version + 1, lease_until = NULL, step_json = NULL, attempts = 0, redeliveries = 0,
    task = 'tick', hold_reason = NULL
WHERE run_id = :run_id AND version = :version AND status = 'running' AND wait_reason IS NULL
    AND wait_until IS NULL AND wait_key IS NULL AND wake_at IS NULL AND due_at IS NULL
""")
_WAITS_FOR_EVENT = "status = 'waiting' AND wait_reason = 'event'"


def waits_for_one_of(keys: int) -> str:
    """The condition that a run waits for an event under one of ``key_0 .. key_n``, alone or among others."""
    names = ", ".join(f":key_{i}" for i in range(keys))
    return f"""{_WAITS_FOR_EVENT} AND run_id IN (
    SELECT run_id FROM runs WHERE {_WAITS_FOR_EVENT} AND wait_key IN ({names})
    UNION SELECT run_id FROM wait_keys WHERE wait_key IN ({names}))"""


KEYS_WAITED_FOR = statement(f"""
SELECT wait_key FROM (
    SELECT wait_key, updated_at FROM runs WHERE {_WAITS_FOR_EVENT}
    UNION ALL
    SELECT k.wait_key, runs.updated_at FROM wait_keys k JOIN runs ON runs.run_id = k.run_id
    WHERE runs.status = 'waiting' AND runs.wait_reason = 'event'
) waits WHERE substr(wait_key, 1, :length) = :prefix GROUP BY wait_key ORDER BY MAX(updated_at) DESC
""")
# Runs of this door only: a fleet's have a wake-up of their own.
DUE_RUNS = statement("""
SELECT due_at, run_id, workflow_id FROM runs
WHERE due_at IS NOT NULL AND wake_at IS NULL AND status = 'waiting' AND due_at <= :now
  AND (due_at, run_id) > (:due, :run_id)
ORDER BY due_at, run_id LIMIT :limit
""")
RUN_TEXT = statement("SELECT run_json FROM runs WHERE run_id = :run_id")
_RUN_STATUS = "SELECT status FROM runs WHERE run_id = :run_id"
RUN_STATUS = statement(_RUN_STATUS, postgresql=_RUN_STATUS + " FOR UPDATE")
RUN_VERSION = statement("SELECT version FROM runs WHERE run_id = :run_id")

# SQLite: the record comes after the head, which follows in the same transaction.
NEXT_SEQ = statement("SELECT COALESCE((SELECT last_seq FROM ledger_heads WHERE run_id = :run_id), 0) + 1")
APPEND_AFTER_HEAD = statement("""
INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
VALUES (:run_id, COALESCE((SELECT last_seq FROM ledger_heads WHERE run_id = :run_id), 0) + 1, :json, :status,
        :key)
""")
MOVE_HEAD = statement("""
INSERT INTO ledger_heads (run_id, last_seq) VALUES (:run_id, 1)
ON CONFLICT (run_id) DO UPDATE SET last_seq = last_seq + 1
""")
# PostgreSQL, in one statement: the run's row allocates; a ledger without a run has a head of its own.
APPEND = statement(
    "",
    postgresql="""
WITH r AS (UPDATE runs SET ledger_seq = ledger_seq + 1 WHERE run_id = :run_id RETURNING ledger_seq),
h AS (
    INSERT INTO ledger_heads (run_id, last_seq) SELECT :run_id, 1 WHERE NOT EXISTS (SELECT 1 FROM r)
    ON CONFLICT (run_id) DO UPDATE SET last_seq = ledger_heads.last_seq + 1 RETURNING last_seq
)
INSERT INTO ledger (run_id, seq, record_json, status, idempotency_key)
SELECT :run_id, COALESCE((SELECT ledger_seq FROM r), (SELECT last_seq FROM h)), :json, :status, :key
""",
)
COMPLETED_RECORDS = statement("""
SELECT seq, record_json FROM ledger
WHERE run_id = :run_id AND idempotency_key = :key AND status = 'completed'
""")
LOCK_RUN = statement("", postgresql="SELECT 1 FROM runs WHERE run_id = :run_id FOR UPDATE")
LOCK_LEDGER = statement("", postgresql="SELECT pg_advisory_xact_lock(hashtextextended(:run_id, 5))")
RECORDS = statement("SELECT seq, record_json FROM ledger WHERE run_id = :run_id ORDER BY seq")
LAST_RECORD = statement(
    "SELECT seq, record_json FROM ledger WHERE run_id = :run_id ORDER BY seq DESC LIMIT 1"
)
COUNTS = statement(
    "SELECT run_id, last_seq FROM ledger_heads WHERE run_id IN (SELECT value FROM json_each(:run_ids))",
    postgresql="""
SELECT run_id, max(seq) FROM (
    SELECT run_id, last_seq AS seq FROM ledger_heads WHERE run_id = ANY(:run_ids)
    UNION ALL
    SELECT run_id, ledger_seq FROM runs WHERE run_id = ANY(:run_ids) AND ledger_seq > 0
) AS heads GROUP BY run_id
""",
)
COMPLETED_OF = statement("""
SELECT run_id, seq, record_json FROM ledger WHERE run_id = :run_id AND status = 'completed' ORDER BY seq
""")
# The contract's upgrade rule (`spec/02 §6.2`), by one index probe per run instead of a read of the ledger.
REPAIR_HEADS = statement("""
WITH RECURSIVE known (run_id) AS (
    SELECT min(run_id) FROM ledger
    UNION ALL
    SELECT (SELECT min(run_id) FROM ledger WHERE run_id > known.run_id) FROM known
    WHERE known.run_id IS NOT NULL
)
INSERT INTO ledger_heads (run_id, last_seq)
SELECT run_id, (SELECT max(seq) FROM ledger WHERE ledger.run_id = known.run_id) FROM known
WHERE run_id IS NOT NULL
ON CONFLICT (run_id) DO UPDATE SET last_seq = excluded.last_seq WHERE excluded.last_seq > last_seq
""")
