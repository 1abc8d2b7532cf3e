"""Schedulers in several processes over the same data: one winner per run, and every step once
(`spec/02 §15 S-1`, S-12)."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import IO

import pytest

from abstractruntime import RunStatus, Runtime
from abstractruntime.core.environment import Environment

from .other_process import open_stores, slow_flow

ROOT = Path(__file__).parents[2]
Start = Callable[[str], "Other"]


class Other:
    """A scheduler in another process."""

    def __init__(self, kind: str, path: Path, mode: str) -> None:
        command = [sys.executable, "-m", "tests.scheduler.other_process"]
        arguments = [kind, str(path), str(path.parent / "journal"), mode]
        self.process = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        pipe: IO[str] | None = self.process.stdin
        assert pipe is not None
        pipe.write("go\n")
        pipe.flush()


class Bench:
    def __init__(self, kind: str, path: Path) -> None:
        self._kind = kind
        self._path = path
        self._others: list[Other] = []
        run_store, ledger_store = open_stores(kind, path)
        long_ago = datetime.now(timezone.utc) - timedelta(hours=2)
        self.runtime = Runtime(
            run_store=run_store, ledger_store=ledger_store, environment=Environment(now=lambda: long_ago)
        )
        self.runs: list[str] = []

    def wait_for(self, runs: int) -> None:
        """Make runs whose time has come."""
        until = (datetime.now(timezone.utc) - timedelta(hours=1)).isoformat()
        spec = slow_flow(lambda what, run: None, until)
        for _ in range(runs):
            run_id = self.runtime.start(workflow=spec)
            assert self.runtime.tick(workflow=spec, run_id=run_id).status is RunStatus.WAITING
            self.runs.append(run_id)

    def other(self, mode: str) -> Other:
        made = Other(self._kind, self._path, mode)
        self._others.append(made)
        assert made.says() == "ready"
        return made

    def statuses(self) -> Counter[RunStatus]:
        return Counter(self.runtime.get_state(run_id).status for run_id in self.runs)

    def executed(self) -> Counter[tuple[str, str]]:
        """How often each step of each run was executed."""
        journal = self._path.parent / "journal"
        lines = journal.read_text(encoding="utf-8").splitlines() if journal.exists() else []
        return Counter((what, run_id) for what, run_id, _ in map(str.split, lines))

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.statuses()
            time.sleep(0.05)

    def close(self) -> None:
        for other in self._others:
            other.process.kill()
            other.process.communicate()


@pytest.fixture(params=["sqlite", "files"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    path = tmp_path / "data"
    path.mkdir()
    made = Bench(request.param, path)
    yield made
    made.close()


@pytest.mark.weakness("spec/02 S-1")
def test_two_schedulers_never_take_a_step_twice(bench: Bench) -> None:
    """With steps that are slow and a recovery that is hasty, so that time alone would not do."""
    bench.wait_for(120)
    others = [bench.other("loop") for _ in range(2)]
    for other in others:
        other.go()
    bench.until(lambda: bench.statuses()[RunStatus.COMPLETED] == 120)
    for other in others:
        other.go()
    counts = [[int(count) for count in other.says().split()] for other in others]
    expected = {(what, run_id): 1 for what in ("node", "effect", "done") for run_id in bench.runs}
    assert bench.executed() == expected
    assert [failed for _, failed in counts] == [0, 0]
    assert min(resumed for resumed, _ in counts) > 0, "one of them did nothing"
    # More, where the hasty one took a run over between another's claim and its first step.
    assert sum(resumed for resumed, _ in counts) >= 120
    ledgers = Counter(
        tuple(record["status"] for record in bench.runtime.get_ledger(run_id)) for run_id in bench.runs
    )
    wait, effect = ("started", "waiting", "completed"), ("started", "completed")
    assert ledgers == {(*wait, *effect, "completed", "completed"): 120}


@pytest.mark.weakness("spec/02 S-1")
def test_polls_at_one_moment_have_one_winner_per_run(bench: Bench) -> None:
    bench.wait_for(8)
    others = [bench.other("once") for _ in range(2)]
    for other in others:
        other.go()
    assert sum(int(other.says()) for other in others) == 8
    assert set(bench.executed().values()) == {1}


@pytest.mark.weakness("spec/02 S-12")
@pytest.mark.chaos
def test_the_runs_of_a_killed_process_go_on_in_another(bench: Bench) -> None:
    bench.wait_for(8)
    first = bench.other("loop")
    first.go()
    bench.until(lambda: len(bench.executed()) >= 8)
    first.process.kill()
    first.process.wait(30)
    assert bench.statuses()[RunStatus.COMPLETED] < 8
    second = bench.other("loop")
    second.go()
    bench.until(lambda: bench.statuses()[RunStatus.COMPLETED] == 8)
    assert all(bench.executed()["done", run_id] == 1 for run_id in bench.runs)
