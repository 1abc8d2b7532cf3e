"""The process that is killed: drives runs and tells, line by line, what it was told is stored."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from abstractruntime.core import faults
from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.storage.commands import CommandRecord
from tests.kernel.kernel import kind

from .jobs import JOB, drive, make_runtime, recover
from .places import Place, open_place


class Voice:
    """Lines to the parent. Short ones are written whole or not at all.

    Inside a transaction nothing is stored yet: what was written there is told after it.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._depth = 0
        self._held: list[dict[str, Any]] = []

    def say(self, **what: Any) -> None:
        os.write(self._fd, json.dumps(what).encode() + b"\n")

    def stored(self, **what: Any) -> None:
        if self._depth:
            self._held.append(what)
        else:
            self.say(**what)

    @contextmanager
    def transaction(self, inside: Any) -> Iterator[None]:
        self._depth += 1
        try:
            with inside:
                yield
        except BaseException:
            self._held.clear()
            raise
        finally:
            self._depth -= 1
        if not self._depth:
            held, self._held = self._held, []
            for what in held:
                self.say(**what)


class TellingRuns:
    """Every save that returned is told. ``checkpoint.saving`` and ``checkpoint.saved`` are fault points."""

    def __init__(self, inner: Any, voice: Voice) -> None:
        self._inner, self._voice = inner, voice
        if hasattr(inner, "atomic"):
            self.atomic = lambda: voice.transaction(inner.atomic())
        if hasattr(inner, "swap"):
            self.swap = lambda run, **seen: self._told(run, lambda: inner.swap(run, **seen))

    def save(self, run: RunState) -> None:
        self._told(run, lambda: self._inner.save(run) or True)

    def _told(self, run: RunState, write: Callable[[], Any]) -> Any:
        point = "terminal" if run.is_terminal else run.status.value
        faults.hit(f"{point}.saving")
        written = write()
        faults.hit(f"{point}.saved")
        if written is not None:
            self._voice.stored(checkpoint=run.run_id, at=run.updated_at)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class TellingLedger:
    """Every append that returned is told. ``<kind>.appending`` and ``<kind>.appended`` are fault points."""

    def __init__(self, inner: Any, voice: Voice) -> None:
        self._inner, self._voice = inner, voice

    def append(self, record: StepRecord) -> None:
        point = kind(record.to_dict()).replace(" ", "_")
        faults.hit(f"{point}.appending")
        self._inner.append(record)
        faults.hit(f"{point}.appended")
        self._voice.stored(
            record=record.run_id,
            step=record.step_id,
            status=record.status.value,
            key=record.idempotency_key,
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def break_files() -> None:
    """Fault points inside the file stores: ``file.renaming``, ``file.renamed`` and ``line.torn``."""
    replace, write = os.replace, os.write

    def replacing(source: Any, target: Any) -> None:
        faults.hit("file.renaming")
        replace(source, target)
        faults.hit("file.renamed")

    def writing(fd: int, data: bytes) -> int:
        if b'"idempotency_key"' in data and b'"llm_call"' in data:
            half = data[: len(data) // 2]
            try:
                faults.hit("line.torn")
            except faults.FaultInjected:
                write(fd, half)
                os.kill(os.getpid(), signal.SIGKILL)
        return write(fd, data)

    os.replace, os.write = replacing, writing  # type: ignore[assignment]


def write_runs(voice: Voice, place: Place, first: int, count: int) -> None:
    """Recover, then ``count`` new runs with a command and an artifact each."""
    runtime = make_runtime(
        TellingRuns(place.runs, voice),
        TellingLedger(place.ledger, voice),
        lambda run_id, key: voice.say(did=key, run=run_id),
    )

    def heard(run: RunState) -> None:
        voice.say(returned=run.run_id, at=run.updated_at, status=run.status.value)

    recover(runtime, heard)
    voice.say(recovered=True)
    for n in range(first, first + count):
        command = CommandRecord(uuid4().hex, "r", "do", {"n": n, "text": "c" * 200}, "")
        stored = place.commands.append(command)
        voice.say(command=command.command_id, seq=stored.seq)
        run_id = runtime.start(workflow=JOB, vars={"n": n})
        drive(runtime, run_id, heard)
        if n % 5 == 0:
            content = f"{run_id} has ended".encode() * 100
            metadata = place.artifacts.store(content, run_id=run_id)
            voice.say(artifact=metadata.artifact_id, sha256=hashlib.sha256(content).hexdigest())


def main(kind: str, directory: Path, first: int, count: int, rules: str) -> None:
    """The whole life of a writing process."""
    voice = Voice(1)
    faults.configure(rules)
    if rules:
        break_files()
    place = open_place(kind, directory)
    voice.say(opened=True)
    write_runs(voice, place, first, count)
    place.close()
