"""The parent: lets processes write, kills them, and holds the stores to what they have acknowledged."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from abstractruntime.core.runtime import Runtime
from abstractruntime.storage.ledger_chain import verify_ledger_chain
from tests.kernel.kernel import kind as kind_of

from .jobs import OUTPUT, make_runtime, recover
from .places import Place, open_place

PATIENCE_S = 60.0


class Zygote:
    """A running `zygote`, and the lines that come from it."""

    def __init__(self, kind: str, directory: Path, log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.durability.zygote", kind, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        self._buffer = b""

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()
        self._log.close()

    def begin(self, first: int, count: int, faults: str = "") -> int:
        """Let a process live; its pid."""
        assert self._process.stdin is not None
        asked = {"first": first, "count": count, "faults": faults}
        self._process.stdin.write(json.dumps(asked).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._only_pid())

    def _only_pid(self) -> int:
        self._early: list[dict[str, Any]] = []
        while True:  # the child may speak before its parent says who it is
            line = self.line(PATIENCE_S)
            assert line is not None, "the zygote is silent"
            if "pid" in line:
                return int(line["pid"])
            self._early.append(line)

    def line(self, timeout_s: float) -> dict[str, Any] | None:
        """The next line, or None if none comes in time."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if not select.select([fd], [], [], timeout_s)[0]:
                return None
            data = os.read(fd, 1 << 16)
            assert data, "the zygote has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    def life(self, pid: int, kill_after: tuple[int, float] | None) -> tuple[list[dict[str, Any]], int]:
        """All that the process said, and how it ended.

        Args:
            kill_after: kill it so many lines and then so many seconds after its beginning; None lets it live.
        """
        said = [line for line in self._early if "ended" not in line]
        is_killed = False
        while True:
            if kill_after is not None and not is_killed and len(said) >= kill_after[0]:
                line = self.line(kill_after[1])
                if line is None or "ended" not in line:
                    os.kill(pid, signal.SIGKILL)
                    is_killed = True
                if line is None:
                    continue
            else:
                line = self.line(PATIENCE_S)
            assert line is not None, f"process {pid} is stuck after {said[-3:]}"
            if "ended" in line:
                return said, int(line["ended"])
            said.append(line)


class Witness:
    """What the killed processes were told is stored, and whether it is."""

    def __init__(self, kind: str, directory: Path) -> None:
        self.kind, self.directory = kind, directory
        self.commands: dict[str, int] = {}
        self.artifacts: dict[str, str] = {}
        self.completed: set[str] = set()
        self.done_outside: Counter[str] = Counter()
        self.acknowledged = 0

    def check(self, said: list[dict[str, Any]], *, drive: bool) -> None:
        """In a new process's place (this one): everything said is there. ``drive`` lets all runs end."""
        place = open_place(self.kind, self.directory)
        try:
            self._hear(said)
            self._check_runs(place, said)
            self._check_commands(place, said)
            for line in said:
                if "artifact" in line:
                    content = place.artifacts.load(line["artifact"])
                    assert content is not None
                    assert hashlib.sha256(content.content).hexdigest() == line["sha256"]
            if drive:
                recover(self.runtime(place))
        finally:
            place.close()

    def runtime(self, place: Place) -> Runtime:
        return make_runtime(place.runs, place.ledger, lambda run_id, key: self._did(key))

    def _did(self, key: str) -> None:
        assert key not in self.completed, f"effect {key} was completed and is carried out again"
        self.done_outside[key] += 1

    def _hear(self, said: list[dict[str, Any]]) -> None:
        self.acknowledged += len(said)
        for line in said:
            if "did" in line:
                self._did(line["did"])
            elif line.get("status") == "completed" and line.get("key"):
                self.completed.add(line["key"])

    def _check_runs(self, place: Place, said: list[dict[str, Any]]) -> None:
        touched = {line.get("checkpoint") or line.get("record") for line in said} - {None}
        records = {run_id: place.ledger.list(run_id) for run_id in touched}
        there = {(r["run_id"], r["step_id"], r["status"]) for rs in records.values() for r in rs}
        stored = {run_id: place.runs.load(run_id) for run_id in touched}
        for line in said:
            if "record" in line:
                assert (line["record"], line["step"], line["status"]) in there, f"lost: {line}"
            if "checkpoint" in line or "returned" in line:
                run = stored[line.get("checkpoint") or line["returned"]]
                assert run is not None, f"lost: {line}"
                assert run.updated_at >= line["at"], f"lost: {line}, there is {run}"
        for run_id in touched:
            self.check_ledger(run_id, records[run_id])

    def check_ledger(self, run_id: str, records: list[dict[str, Any]]) -> None:
        report = verify_ledger_chain(records)
        assert report["ok"], (run_id, report)
        completed = Counter(
            r["idempotency_key"] for r in records if r["status"] == "completed" and r["idempotency_key"]
        )
        assert set(completed.values()) <= {1}, (run_id, completed)
        self.completed |= {key for key in completed if not key.startswith("system:")}

    def _check_commands(self, place: Place, said: list[dict[str, Any]]) -> None:
        new = {line["command"]: line["seq"] for line in said if "command" in line}
        assert not set(new.values()) & set(self.commands.values()), "a position was given twice"
        after = max(self.commands.values(), default=0)
        self.commands |= new
        there = {c.command_id: c.seq for c in place.commands.list_after(after=after)[0]}
        assert new.items() <= there.items()

    def check_all(self) -> Counter[str]:
        """At the very end: every run has ended as it should; how many there are of what."""
        place = open_place(self.kind, self.directory)
        try:
            recover(self.runtime(place))
            counts: Counter[str] = Counter()
            for row in place.runs.list_run_index(limit=100_000):
                counts[row["workflow_id"]] += 1
                self._check_ended(place, row)
            commands = place.commands.list_after(after=0, limit=100_000)[0]
            assert self.commands.items() <= {c.command_id: c.seq for c in commands}.items()
            counts["commands"] = len(commands)
            return counts
        finally:
            place.close()

    def _check_ended(self, place: Place, row: dict[str, Any]) -> None:
        run_id = row["run_id"]
        assert row["status"] == "completed", row
        records = place.ledger.list(run_id)
        self.check_ledger(run_id, records)
        kinds = [kind_of(record) for record in records]
        assert kinds[-1] == "status completed", (run_id, kinds)
        assert kinds.count("status completed") == 1, (run_id, kinds)
        assert sum(kind.startswith("completion") for kind in kinds) == 1, (run_id, kinds)
        if row["workflow_id"] == "job":
            run = place.runs.load(run_id)
            assert run is not None
            assert run.output == OUTPUT
            assert len(place.runs.list_children(parent_run_id=run_id)) == 1


def random_moment(chance: random.Random) -> tuple[int, float]:
    """After so many lines, and then so many seconds: mostly in the middle, now and then while opening."""
    if chance.random() < 0.15:
        return 0, chance.random() * 0.03
    return chance.randrange(70), chance.random() * 0.003
