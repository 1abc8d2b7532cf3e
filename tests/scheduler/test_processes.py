"""Two schedulers in two processes on one SQLite file: one winner per run (`spec/02 §15 S-1`)."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from abstractruntime import (
    RunStatus,
    Runtime,
    SqliteDatabase,
    SqliteLedgerStore,
    SqliteRunStore,
)
from abstractruntime.core.environment import Environment
from abstractruntime.core.times import to_iso

from .flows import timer

ROOT = Path(__file__).parents[2]


def test_each_run_has_one_winner_among_processes(tmp_path: Path) -> None:
    path, journal = tmp_path / "runs.sqlite3", tmp_path / "driven.txt"
    database = SqliteDatabase(path)
    long_ago = datetime.now(timezone.utc) - timedelta(hours=2)
    runtime = Runtime(
        run_store=SqliteRunStore(database),
        ledger_store=SqliteLedgerStore(database),
        environment=Environment(now=lambda: long_ago),
    )
    spec = timer(to_iso(long_ago + timedelta(hours=1)))
    runs = [runtime.start(workflow=spec) for _ in range(40)]
    assert {runtime.tick(workflow=spec, run_id=run_id).status for run_id in runs} == {RunStatus.WAITING}
    command = [sys.executable, "-m", "tests.scheduler.other_process", str(path), str(journal)]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        counts = [int(process.communicate(timeout=60)[0]) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert sum(counts) == 40
    assert sorted(journal.read_text(encoding="utf-8").split()) == sorted(runs)
    assert {runtime.get_state(run_id).status for run_id in runs} == {RunStatus.COMPLETED}
    database.close()
