"""Opening a SQLite file again must not cost this process its locks."""

from __future__ import annotations

import subprocess
import sys

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.environment import Environment
from abstractruntime.core.spec import WorkflowSpec
from abstractruntime.core.starting import new_run
from abstractruntime.storage.sql.engine import open_database
from abstractruntime.storage.sql.migrate import upgrade
from abstractruntime.storage.sql.store import SqlCheckpointStore

COUNT = (
    "import sys;"
    "from abstractruntime.storage.sql.engine import open_database;"
    "from abstractruntime.storage.sql.store import SqlCheckpointStore;"
    "print(dict(SqlCheckpointStore(open_database(sys.argv[1])).status_counts()))"
)


def _seen_by_another_process(url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COUNT, url], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.strip()


def test_what_is_written_after_a_second_opening_is_seen_by_other_processes(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    upgrade(database)
    second = open_database(sqlite_url)  # once dropped the first one's locks, so others removed its log
    assert _seen_by_another_process(sqlite_url) == "{}"
    workflow = WorkflowSpec("w", "a", {})
    with SqlCheckpointStore(database).unit() as unit:
        run = new_run(workflow, config=RuntimeConfig(), env=Environment())
        assert unit.insert(run, depth=0, wake_at=None)
    assert _seen_by_another_process(sqlite_url) == "{'running': 1}"
    database.close()
    second.close()
