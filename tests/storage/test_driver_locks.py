"""Leases of runs among processes (`spec/02 §15 S-1`, S-12)."""

from __future__ import annotations

import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abstractruntime.storage.driver_locks import driver_locks

HOLDER = """
import sys
from pathlib import Path
from abstractruntime.storage.driver_locks import driver_locks
locks = driver_locks(Path(sys.argv[1]))
print([locks.take(run_id) for run_id in sys.argv[2:]], flush=True)
sys.stdin.readline()
"""

Hold = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Hold]:
    """Another process that takes the leases and keeps them."""
    holders: list[subprocess.Popen[str]] = []

    def hold(*run_ids: str, says: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLDER, str(tmp_path / "drivers"), *run_ids]
        root = Path(__file__).parents[2]
        pipe = subprocess.PIPE
        holder = subprocess.Popen(command, cwd=root, stdin=pipe, stdout=pipe, text=True, encoding="utf-8")
        holders.append(holder)
        assert holder.stdout is not None
        assert holder.stdout.readline().strip() == says
        return holder

    yield hold
    for holder in holders:
        holder.kill()
        holder.communicate()


def test_one_process_has_a_run_and_the_next_when_it_gives_it_back(tmp_path: Path, hold: Hold) -> None:
    locks = driver_locks(tmp_path / "drivers")
    assert locks.take("a")
    hold("a", "b", says="[False, True]")
    assert not locks.take("b")
    locks.give_back("a")
    hold("a", says="[True]")
    assert not locks.take("a")


@pytest.mark.chaos
def test_a_dead_process_has_nothing(tmp_path: Path, hold: Hold) -> None:
    locks = driver_locks(tmp_path / "drivers")
    holder = hold("a", says="[True]")
    assert not locks.take("a")
    holder.kill()
    holder.wait(30)
    assert locks.take("a")


def test_giving_back_nothing_does_no_harm(tmp_path: Path) -> None:
    driver_locks(tmp_path / "drivers").give_back("never taken")


def test_one_object_per_file_readable_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    locks = driver_locks(tmp_path / "drivers")
    assert driver_locks(tmp_path / "link" / "drivers") is locks
    assert not (tmp_path / "drivers").exists(), "made at first use"
    locks.take("a")
    assert stat.S_IMODE((tmp_path / "drivers").stat().st_mode) == 0o600
