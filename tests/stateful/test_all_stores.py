"""No difference between stores: the acceptance line of the in-process library.

``ABSTRACTRUNTIME_STATEFUL_EXAMPLES`` says how many examples to try (default: as many as CI has time for).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from abstractruntime.storage.sql import migrate
from abstractruntime.storage.sql.engine import Database, open_database

from .machine import Stores
from .places import Opening, decorated, files, memory, postgres, sqlite

EXAMPLES = int(os.environ.get("ABSTRACTRUNTIME_STATEFUL_EXAMPLES") or 0)


def effort(examples: int) -> settings:
    return settings(
        max_examples=EXAMPLES or examples,
        stateful_step_count=25,
        deadline=None,  # a busy machine is no failure
        suppress_health_check=[*HealthCheck],
        print_blob=True,
    )


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_memory_files_and_sqlite_bare_and_decorated(tmp_path: Path) -> None:
    class Embedded(Stores):
        def open_places(self, scratch: Path) -> dict[str, Opening]:
            template = tmp_path / "empty.sqlite3"
            return {
                "memory": memory(),
                "files": files(scratch / "files"),
                "sqlite": sqlite(scratch / "runs.sqlite3", template),
                "decorated memory": decorated(memory()),
                "decorated files": decorated(files(scratch / "decorated")),
                "decorated sqlite": decorated(sqlite(scratch / "decorated.sqlite3", template)),
            }

    run_state_machine_as_test(Embedded, settings=effort(12))


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    opened = open_database(postgres_url)
    migrate.upgrade(opened)
    yield opened
    opened.close()


@pytest.mark.timeout(0 if EXAMPLES else 300)
def test_postgresql(database: Database) -> None:
    class Server(Stores):
        def open_places(self, scratch: Path) -> dict[str, Opening]:
            return {"memory": memory(), "postgresql": postgres(database)}

    run_state_machine_as_test(Server, settings=effort(8))
