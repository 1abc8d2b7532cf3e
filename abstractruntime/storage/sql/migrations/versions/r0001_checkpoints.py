"""All tables of the first release; adopts a SQLite file of the contract's tables in place (`spec/02 §6.2`).

Adopted runs keep ``wake_at`` null: they are driven by the process that opens the file, as before, until
somebody resumes or retries them through the fleet.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy import Connection, inspect, text

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BATCH = 1000
_NEW_COLUMNS = {
    "runs": (
        "version BIGINT DEFAULT 1 NOT NULL",
        "wake_at DOUBLE",
        "due_at DOUBLE",
        "wait_key TEXT",
        "current_node TEXT",
        "ledger_seq BIGINT DEFAULT 0 NOT NULL",
        "depth INTEGER DEFAULT 0 NOT NULL",
        "attempts INTEGER DEFAULT 0 NOT NULL",
        "redeliveries INTEGER DEFAULT 0 NOT NULL",
        "task TEXT DEFAULT 'tick' NOT NULL",
        "lease_until DOUBLE",
        "hold_reason TEXT",
        "inserted_at DOUBLE DEFAULT 0 NOT NULL",
        "step_json TEXT",
    ),
    "ledger": ("status TEXT", "idempotency_key TEXT"),
}
_HEADS = """
INSERT INTO ledger_heads (run_id, last_seq) SELECT run_id, MAX(seq) FROM ledger WHERE true GROUP BY run_id
ON CONFLICT (run_id) DO UPDATE SET last_seq = excluded.last_seq WHERE excluded.last_seq > last_seq
"""
_LEDGER_SEQ = """
UPDATE runs SET ledger_seq = (SELECT last_seq FROM ledger_heads h WHERE h.run_id = runs.run_id)
WHERE run_id IN (SELECT run_id FROM ledger_heads)
"""
_INSERTED_AT = """
UPDATE runs SET inserted_at = COALESCE((julianday(created_at) - 2440587.5) * 86400.0, 0)
"""
_SESSION = "UPDATE runs SET session_id = NULLIF(TRIM(session_id), '') WHERE session_id <> TRIM(session_id)"
_DEPTH = """
WITH RECURSIVE tree (run_id, depth) AS (
    SELECT run_id, 0 FROM runs
    WHERE COALESCE(parent_run_id, '') = '' OR parent_run_id NOT IN (SELECT run_id FROM runs)
    UNION ALL
    SELECT runs.run_id, tree.depth + 1 FROM tree JOIN runs ON runs.parent_run_id = tree.run_id
    WHERE tree.depth < 1000
)
UPDATE runs SET depth = (SELECT depth FROM tree WHERE tree.run_id = runs.run_id)
WHERE run_id IN (SELECT run_id FROM tree WHERE depth > 0)
"""


def upgrade() -> None:
    connection = op.get_bind()
    existing = set(inspect(connection).get_table_names())
    adopted = existing & _NEW_COLUMNS.keys()
    for table in sorted(adopted):
        _add_columns(connection, table)
    script = Path(__file__).with_name(f"0001_{connection.dialect.name}.sql").read_text(encoding="utf-8")
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
    if "ledger" in adopted:
        _fill_ledger(connection)
        connection.execute(text(_HEADS))
    if "runs" in adopted:
        _fill_runs(connection)
        for statement in (_LEDGER_SEQ, _INSERTED_AT, _SESSION, _DEPTH):
            connection.execute(text(statement))


def _add_columns(connection: Connection, table: str) -> None:
    known = {column["name"] for column in inspect(connection).get_columns(table)}
    for column in _NEW_COLUMNS[table]:
        if column.split()[0] not in known:
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")


def _fill_ledger(connection: Connection) -> None:
    """Status and idempotency key out of each record."""
    read = text(
        "SELECT rowid, record_json FROM ledger WHERE rowid > :after AND status IS NULL "
        "ORDER BY rowid LIMIT :batch"
    )
    write = text("UPDATE ledger SET status = :status, idempotency_key = :key WHERE rowid = :row")
    after = -1
    while rows := connection.execute(read, {"after": after, "batch": BATCH}).all():
        after = rows[-1][0]
        found = [(row, _object(record)) for row, record in rows]
        connection.execute(
            write,
            [
                {"row": row, "status": _text(data.get("status")), "key": _text(data.get("idempotency_key"))}
                for row, data in found
            ],
        )


def _fill_runs(connection: Connection) -> None:
    """Current node and wait key out of each state."""
    read = text(
        "SELECT rowid, run_json FROM runs WHERE rowid > :after AND current_node IS NULL "
        "ORDER BY rowid LIMIT :batch"
    )
    write = text("UPDATE runs SET current_node = :node, wait_key = :key WHERE rowid = :row")
    after = -1
    while rows := connection.execute(read, {"after": after, "batch": BATCH}).all():
        after = rows[-1][0]
        found = [(row, _object(state)) for row, state in rows]
        connection.execute(
            write,
            [
                {
                    "row": row,
                    "node": _text(data.get("current_node")) or "",
                    "key": _text(_dict(data.get("waiting")).get("wait_key")),
                }
                for row, data in found
            ],
        )


def _object(stored: str) -> dict[str, Any]:
    """The stored object; ``{}`` for a row that was damaged before (it stays as it is)."""
    try:
        return _dict(json.loads(stored))
    except (ValueError, TypeError):
        return {}


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
