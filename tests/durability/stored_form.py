"""The contract's stored form, written down once more: what it looks like, and a strict reader of it.

Nothing here uses the package: it is what an older release, or somebody with a text editor, would write.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

RUN_KEYS = [
    *("run_id", "workflow_id", "status", "current_node", "vars", "waiting", "output", "error"),
    *("created_at", "updated_at", "actor_id", "session_id", "parent_run_id"),
]
WAIT_KEYS = [
    *("reason", "wait_key", "until", "resume_to_node", "result_key"),
    *("prompt", "choices", "allow_free_text", "details"),
]
RECORD_KEYS = [
    *("run_id", "step_id", "node_id", "status", "effect", "result", "error", "started_at", "ended_at"),
    *("actor_id", "session_id", "attempt", "idempotency_key", "prev_hash", "record_hash", "signature"),
]
TABLES = """
CREATE TABLE runs (run_id TEXT PRIMARY KEY, workflow_id TEXT NOT NULL, status TEXT NOT NULL, wait_reason TEXT,
    wait_until TEXT, parent_run_id TEXT, actor_id TEXT, session_id TEXT, created_at TEXT, updated_at TEXT,
    run_json TEXT NOT NULL);
CREATE TABLE wait_index (run_id TEXT PRIMARY KEY, next_due_iso TEXT NOT NULL, updated_at_iso TEXT NOT NULL,
    status TEXT);
CREATE TABLE ledger (run_id TEXT NOT NULL, seq INTEGER NOT NULL, record_json TEXT NOT NULL,
    PRIMARY KEY (run_id, seq));
CREATE INDEX idx_runs_status_updated ON runs(status, updated_at DESC);
CREATE INDEX idx_runs_workflow_updated ON runs(workflow_id, updated_at DESC);
CREATE INDEX idx_runs_parent ON runs(parent_run_id);
CREATE INDEX idx_runs_waiting ON runs(status, wait_reason, wait_until);
CREATE INDEX idx_wait_index_next_due ON wait_index(next_due_iso);
CREATE INDEX idx_ledger_run_seq ON ledger(run_id, seq);
"""
"""Of a file from before there were heads, commands and cursors."""

Run = dict[str, Any]
Record = dict[str, Any]


def key_of(run_id: str, node_id: str, effect_type: str, payload: dict[str, Any]) -> str:
    """The idempotency key (`spec/01 §5.3`)."""
    content = {
        "run_id": run_id,
        "node_id": node_id,
        "effect_type": effect_type,
        "effect_payload": payload,
    }
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def write_files(directory: Path, runs: list[Run], ledgers: dict[str, list[Record]]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for run in runs:
        text = json.dumps(run, ensure_ascii=False, indent=2)
        (directory / f"run_{run['run_id']}.json").write_text(text, encoding="utf-8")
    for run_id, records in ledgers.items():
        lines = [json.dumps(record, ensure_ascii=False) + "\n" for record in records]
        (directory / f"ledger_{run_id}.jsonl").write_text("".join(lines), encoding="utf-8")


def write_sqlite(file: Path, runs: list[Run], ledgers: dict[str, list[Record]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(TABLES)
        for run in runs:
            wait = run.get("waiting") or {}
            until = wait.get("until") if wait.get("reason") == "until" else None
            row = (
                *(run["run_id"], run["workflow_id"], run["status"], wait.get("reason"), until),
                *(run["parent_run_id"], run["actor_id"], run["session_id"]),
                *(run["created_at"], run["updated_at"], json.dumps(run, ensure_ascii=False)),
            )
            connection.execute(f"INSERT INTO runs VALUES ({','.join('?' * 11)})", row)
            if run["status"] == "waiting" and until:
                entry = (run["run_id"], until, run["updated_at"], "waiting_until")
                connection.execute("INSERT INTO wait_index VALUES (?, ?, ?, ?)", entry)
        for run_id, records in ledgers.items():
            for seq, record in enumerate(records, 1):
                text = json.dumps(record, ensure_ascii=False)
                connection.execute("INSERT INTO ledger VALUES (?, ?, ?)", (run_id, seq, text))


def read_files(directory: Path) -> tuple[dict[str, Run], dict[str, list[Record]]]:
    """Everything in the directory, every key and blank of it checked."""
    runs, ledgers = {}, {}
    for path in directory.glob("run_*.json"):
        text = path.read_text(encoding="utf-8")
        run = json.loads(text)
        assert text == json.dumps(run, ensure_ascii=False, indent=2), path
        runs[path.name[len("run_") : -len(".json")]] = run
    for path in directory.glob("ledger_*.jsonl"):
        lines = path.read_text(encoding="utf-8").split("\n")
        assert lines.pop() == "", f"{path} does not end with a whole line"
        records = [json.loads(line) for line in lines]
        assert lines == [json.dumps(record, ensure_ascii=False) for record in records], path
        ledgers[path.name[len("ledger_") : -len(".jsonl")]] = records
    return runs, ledgers


def read_sqlite(file: Path) -> tuple[dict[str, Run], dict[str, list[Record]]]:
    """Everything in the file; columns, indexes of waits and heads must agree with the texts."""
    runs: dict[str, Run] = {}
    ledgers: dict[str, list[Record]] = {}
    with closing(sqlite3.connect(file)) as connection:
        names = (
            "run_id, workflow_id, status, parent_run_id, actor_id, session_id, created_at, updated_at, "
            "wait_reason, run_json"
        )
        for *columns, text in connection.execute(f"SELECT {names} FROM runs"):
            run = json.loads(text)
            assert text == json.dumps(run, ensure_ascii=False)
            wait = run["waiting"] or {}
            *same, wait_reason = names.split(", ")[:-1]
            assert columns == [*(run[name] for name in same), wait.get("reason")], run
            assert wait_reason == "wait_reason"
            runs[run["run_id"]] = run
        timed = {
            run["run_id"]
            for run in runs.values()
            if run["status"] == "waiting" and run["waiting"]["reason"] == "until"
        }
        assert {row[0] for row in connection.execute("SELECT run_id FROM wait_index")} == timed
        rows = connection.execute("SELECT run_id, seq, record_json FROM ledger ORDER BY run_id, seq")
        for run_id, seq, text in rows:
            record = json.loads(text)
            assert text == json.dumps(record, ensure_ascii=False)
            ledgers.setdefault(run_id, []).append(record)
            assert seq == len(ledgers[run_id]), "positions have a gap"
        heads = dict(connection.execute("SELECT run_id, last_seq FROM ledger_heads"))
        assert heads == {run_id: len(records) for run_id, records in ledgers.items()}
    return runs, ledgers


def check_run(run: Run) -> None:
    """The keys in their order (`spec/02 §3.1`)."""
    assert list(run) == RUN_KEYS
    assert run["waiting"] is None or list(run["waiting"]) == WAIT_KEYS


def check_record(record: Record) -> None:
    """The keys in their order (`spec/02 §3.2`)."""
    assert list(record) == RECORD_KEYS
    assert record["effect"] is None or list(record["effect"]) == ["type", "payload", "result_key"]
