"""The fleet's processes: started, killed, frozen, and started again when they are dead."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, RLock, Thread

from workers.embedded.child import ChildProcess
from workers.embedded.errors import EmbeddedFleetError
from workers.roles import Command, Role, beat_command, resumer_command, worker_command
from workers.settings import Settings

from .schedule import Crew

__all__ = ["Processes"]

_POLL_S = 0.1
_RESTART_S = 0.3
_FAULTS = "ABSTRACTRUNTIME_FAULTS"


@dataclass(slots=True)
class _Member:
    name: str
    command: Command
    child: ChildProcess | None = None
    rule: str = ""
    doomed: bool = False
    wanted: bool = True
    died_at: float | None = None
    starts: int = 0
    own_deaths: list[str] = field(default_factory=list)


class Processes:
    """All processes of the fleet but its servers.

    Args:
        log_folder: one file per name.
    """

    def __init__(
        self, settings: Settings, crew: Crew, env: Mapping[str, str], *, cwd: Path, log_folder: Path
    ) -> None:
        self._settings = settings
        self._env = dict(env)
        self._cwd = cwd
        self._log_folder = log_folder
        self._lock = RLock()
        self._members = {member.name: member for member in _members(settings, crew)}
        self._stopping = Event()
        self._watcher = Thread(target=self._watch, name="crew", daemon=True)

    # -- life -----------------------------------------------------------------------------------

    def start(self, timeout: float = 90.0) -> None:
        """Start all and wait until each is at work.

        Raises:
            EmbeddedFleetError: one of them is not.
        """
        with self._lock:
            for member in self._members.values():
                self._spawn(member)
        self._watcher.start()
        self.await_ready(timeout)

    def await_ready(self, timeout: float) -> None:
        """Wait until every process lives and is at work.

        Raises:
            EmbeddedFleetError: not within ``timeout`` seconds.
        """
        deadline = time.monotonic() + timeout
        while late := [member.name for member in self._all() if not _at_work(member)]:
            if time.monotonic() > deadline:
                raise EmbeddedFleetError(f"Not at work within {timeout:g} s: {', '.join(late)}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End all, softly where possible."""
        self._stopping.set()
        if self._watcher.is_alive():
            self._watcher.join()
        children = [member.child for member in self._all() if member.child is not None]
        for child in children:
            child.send(signal.SIGCONT)
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + 5.0
        for child in children:
            child.wait(max(0.0, deadline - time.monotonic()))
            child.kill_all()
            child.wait(5.0)
            child.close()

    # -- what is done to them -------------------------------------------------------------------

    def kill(self, name: str, *, rule: str = "") -> int:
        """SIGKILL; its pid. It is started again, with the fault rule if one is given.

        Raises:
            LookupError: it is dead already.
        """
        with self._lock:
            member = self._members[name]
            child = _living(member)
            member.doomed, member.rule = True, rule
            child.send(signal.SIGKILL)
            return child.pid

    def freeze(self, name: str) -> ChildProcess:
        """SIGSTOP; give the result to `thaw`.

        Raises:
            LookupError: it is dead.
        """
        with self._lock:
            child = _living(self._members[name])
            child.send(signal.SIGSTOP)
            return child

    def thaw(self, child: ChildProcess) -> None:
        """SIGCONT, unless it was killed meanwhile."""
        child.send(signal.SIGCONT)

    def add_beat(self) -> str:
        """A second beat; its name."""
        with self._lock:
            name = f"beat-{1 + sum(member.name.startswith('beat') for member in self._all())}"
            member = self._members[name] = _Member(name, beat_command(log_level="warning"))
            self._spawn(member)
            return name

    def remove(self, name: str) -> None:
        """Kill it for good."""
        with self._lock:
            member = self._members[name]
            member.wanted = False
            if member.child is not None:
                member.child.send(signal.SIGKILL)

    def disarm(self) -> None:
        """Processes that were started with a fault rule are started again without it."""
        with self._lock:
            for member in self._all():
                if member.rule and member.child is not None:
                    member.doomed, member.rule = True, ""
                    member.child.send(signal.SIGKILL)

    # -- what is there --------------------------------------------------------------------------

    def own_deaths(self) -> dict[str, Counter[str]]:
        """Processes that ended although nobody killed them, and how."""
        return {member.name: Counter(member.own_deaths) for member in self._all() if member.own_deaths}

    def starts(self) -> int:
        """Processes started so far."""
        return sum(member.starts for member in self._all())

    def _all(self) -> list[_Member]:
        with self._lock:
            return list(self._members.values())

    # -- watching -------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            with self._lock:
                for member in self._members.values():
                    self._look_at(member)

    def _look_at(self, member: _Member) -> None:
        child = member.child
        if child is not None and not child.is_running():
            # A rule kills with SIGKILL too: that death was planned.
            planned = member.doomed or (bool(member.rule) and child.ending == "signal SIGKILL")
            if member.wanted and not planned:
                last = child.last_lines[-1] if child.last_lines else ""
                member.own_deaths.append(f"{child.ending} {last[-160:]}".strip())
            if planned and not member.doomed:
                member.rule = ""  # it has acted
            child.close()
            member.child, member.died_at = None, time.monotonic()
        is_dead = member.child is None and member.wanted and member.died_at is not None
        if is_dead and time.monotonic() - (member.died_at or 0.0) >= _RESTART_S:
            self._spawn(member)

    def _spawn(self, member: _Member) -> None:
        member.doomed = False
        member.starts += 1
        log = self._log_folder / f"{member.name}.log"
        env = {**self._env, _FAULTS: member.rule} if member.rule else self._env
        member.child = ChildProcess(member.command, cwd=self._cwd, env=env, on_line=_Appender(log))


class _Appender:
    """Writes lines to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


def _members(settings: Settings, crew: Crew) -> Iterator[_Member]:
    for n in range(crew.ticks):
        name = f"ticks-{n + 1}"
        yield _Member(name, worker_command(Role.TICKS, settings, name=name, log_level="warning"))
    for n in range(crew.effects):
        name = f"effects-{n + 1}"
        command = worker_command(Role.EFFECTS, settings, name=name, concurrency=6, log_level="warning")
        yield _Member(name, command)
    yield _Member("beat", beat_command(log_level="warning"))
    for n in range(crew.resumers):
        yield _Member(f"resumer-{n + 1}", resumer_command(log_level="warning"))


def _living(member: _Member) -> ChildProcess:
    if member.child is None or not member.child.is_running():
        raise LookupError(f"{member.name} is dead at this moment")
    return member.child


def _at_work(member: _Member) -> bool:
    if not member.wanted:
        return True
    return member.child is not None and member.child.is_running() and member.child.is_ready()
