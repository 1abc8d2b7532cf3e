"""A SQLite file as the published package writes it (`spec/02 §6.2`), made by hand."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

TABLES = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL, status TEXT NOT NULL, wait_reason TEXT,
    wait_until TEXT, parent_run_id TEXT, actor_id TEXT, session_id TEXT, created_at TEXT, updated_at TEXT,
    run_json TEXT NOT NULL);
CREATE INDEX idx_runs_status_updated ON runs (status, updated_at DESC);
CREATE INDEX idx_runs_workflow_updated ON runs (workflow_id, updated_at DESC);
CREATE INDEX idx_runs_parent ON runs (parent_run_id);
CREATE INDEX idx_runs_waiting ON runs (status, wait_reason, wait_until);
CREATE TABLE wait_index (run_id TEXT PRIMARY KEY, next_due_iso TEXT NOT NULL, updated_at_iso TEXT NOT NULL,
    status TEXT);
CREATE INDEX idx_wait_index_next_due ON wait_index (next_due_iso);
CREATE TABLE ledger (run_id TEXT NOT NULL, seq INTEGER NOT NULL, record_json TEXT NOT NULL,
    PRIMARY KEY (run_id, seq));
CREATE INDEX idx_ledger_run_seq ON ledger (run_id, seq);
CREATE TABLE ledger_heads (run_id TEXT PRIMARY KEY, last_seq INTEGER NOT NULL);
CREATE TABLE commands (seq INTEGER PRIMARY KEY AUTOINCREMENT, command_id TEXT NOT NULL UNIQUE,
    run_id TEXT NOT NULL, type TEXT NOT NULL, payload_json TEXT NOT NULL, ts TEXT NOT NULL, client_id TEXT);
CREATE INDEX idx_commands_run_id ON commands (run_id);
CREATE TABLE command_cursors (consumer_id TEXT PRIMARY KEY, cursor INTEGER NOT NULL,
    updated_at TEXT NOT NULL);
"""


def make_contract_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(TABLES)
    connection.execute("INSERT INTO commands VALUES (7, 'c', 'r1', 'pause', '{}', '2026', NULL)")
    connection.commit()
    connection.close()


def add_run(path: Path, run_id: str, status: str, waiting: dict[str, Any] | None, parent: str | None) -> None:
    state = {
        "run_id": run_id,
        "workflow_id": "wf",
        "status": status,
        "current_node": f"at-{run_id}",
        "vars": {"ü": 1},
        "waiting": waiting,
        "output": None,
        "error": None,
        "created_at": "2026-01-01T00:00:00+00:00",
        "updated_at": "2026-01-02T00:00:00+00:00",
        "actor_id": None,
        "session_id": "s1",
        "parent_run_id": parent,
    }
    wait = waiting or {}
    row = (
        run_id,
        "wf",
        status,
        wait.get("reason"),
        wait.get("until"),
        parent,
        None,
        "s1",
        state["created_at"],
        state["updated_at"],
        json.dumps(state, ensure_ascii=False),
    )
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO runs VALUES (?,?,?,?,?,?,?,?,?,?,?)", row)
    connection.commit()
    connection.close()


def add_record(path: Path, run_id: str, seq: int, text: str) -> None:
    """A ledger row without its head."""
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO ledger VALUES (?, ?, ?)", (run_id, seq, text))
    connection.commit()
    connection.close()
