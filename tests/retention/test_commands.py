"""Commands that have been read are removed, in memory and in files (databases: `test_fleet.py`)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.retention import PurgeReport, RetentionPolicy, purge
from abstractruntime.storage.commands import (
    CommandRecord,
    InMemoryCommandCursorStore,
    InMemoryCommandStore,
    JsonlCommandStore,
)
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore
from tests.retention.stores import NOW, ago

pytestmark = pytest.mark.weakness("spec/02 P-8")

WEEK = RetentionPolicy(commands=timedelta(days=7))


@pytest.fixture(params=["memory", "jsonl"])
def commands(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return InMemoryCommandStore() if request.param == "memory" else JsonlCommandStore(tmp_path)


def add(commands: Any, *days: float) -> None:
    """Commands that were sent that many days before `NOW`."""
    for each in days:
        number = commands.get_last_seq() + 1
        commands.append(CommandRecord(f"c{number}", "r1", "pause", {"n": number}, ago(each)))


def left(commands: Any) -> list[int]:
    return [command.seq for command in commands.list_after(after=0)[0]]


def run_purge(commands: Any, *read: int, **options: Any) -> PurgeReport:
    return purge(
        WEEK,
        run_store=InMemoryRunStore(),
        ledger_store=InMemoryLedgerStore(),
        command_store=commands,
        command_cursors=[InMemoryCommandCursorStore(position) for position in read],
        now=NOW,
        **options,
    )


def test_only_what_is_old_and_read_by_all_goes(commands: Any) -> None:
    add(commands, 30, 29, 28, 27, 3, 2)
    assert run_purge(commands, 6, 2, dry_run=True).commands == 2
    assert left(commands) == [1, 2, 3, 4, 5, 6]
    assert run_purge(commands, 6, 2).commands == 2
    assert run_purge(commands, 6, 2).commands == 0
    assert run_purge(commands, 6, 6).commands == 2
    assert left(commands) == [5, 6]


def test_the_newest_stays_and_seqs_go_on(commands: Any, tmp_path: Path) -> None:
    add(commands, 30, 29, 28)
    assert run_purge(commands, 3).commands == 2
    assert left(commands) == [3]
    assert commands.delete_through(99) == 0
    add(commands, 27)
    assert left(commands) == [3, 4]
    assert commands.list_after(after=3)[1] == 4
    if isinstance(commands, JsonlCommandStore):
        assert left(JsonlCommandStore(tmp_path)) == [3, 4]


def test_known_ids_stay_known_and_removed_ones_are_forgotten(commands: Any) -> None:
    add(commands, 30, 29)
    run_purge(commands, 2)
    assert commands.append(CommandRecord("c2", "r1", "pause", {"n": 2}, ago(29))).duplicate
    assert commands.append(CommandRecord("c1", "r1", "pause", {"n": 1}, ago(30))).seq == 3


def test_more_than_a_page(commands: Any) -> None:
    add(commands, *[30] * 2100)
    assert run_purge(commands, 2100, dry_run=True).commands == 2099
    assert run_purge(commands, 2100).commands == 2099


def test_another_store_over_the_file_notices(tmp_path: Path) -> None:
    one, other = JsonlCommandStore(tmp_path), JsonlCommandStore(tmp_path)
    add(one, *[30] * 10)
    assert left(other) == list(range(1, 11))
    for seq in range(2, 9, 2):  # the file system may give the same inode number again
        assert one.delete_through(seq) == 2
        assert left(other) == list(range(seq + 1, 11))
        add(one)
    add(other, 30)
    assert left(one) == left(other) == [9, 10, 11]
    assert other.append(CommandRecord("c10", "r1", "pause", {"n": 10}, ago(30))).seq == 10


def test_nothing_to_remove(commands: Any) -> None:
    assert commands.delete_through(5) == 0
    assert run_purge(commands, 5).commands == 0
    add(commands, 30)
    assert commands.delete_through(-3) == 0
    assert left(commands) == [1]


def test_somebody_must_say_how_far_is_read(commands: Any) -> None:
    with pytest.raises(InvalidInputError, match="command_cursors"):
        run_purge(commands)
