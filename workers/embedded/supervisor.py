"""Keeps a set of children alive: starts them, restarts what died (with backoff and a cap), stops them all."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, RLock, Thread

from ..roles import Command
from .child import ChildProcess
from .errors import EmbeddedFleetError

__all__ = ["Member", "ProcessInfo", "Supervisor"]

OnLine = Callable[[str, str], None]
"""``(name of the process, line)``; the supervisor's own lines come under the name ``fleet``."""

FLEET = "fleet"
_POLL_S = 0.1
_BACKOFF_S = 0.5
_BACKOFF_MAX_S = 15.0
# A child that worked this long has proved itself: its next death counts as the first.
_PROVED_S = 30.0
MAX_DEATHS = 8
MAX_DEATHS_AT_START = 2
_SOFT_S, _HARD_S = 8.0, 2.0


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One process of the fleet, as it is now.

    Attributes:
        name: e.g. ``ticks-1``, ``effects``, ``beat``, ``resumer``.
        pid: its process id; of a dead one, the last.
        running: it lives.
        ready: it has begun to work.
        restarts: how often it was started again.
    """

    name: str
    pid: int
    running: bool
    ready: bool
    restarts: int


@dataclass(slots=True)
class Member:
    """A child that is to be kept alive."""

    name: str
    command: Command
    child: ChildProcess | None = None
    deaths: int = 0
    restarts: int = 0
    was_ready: bool = False
    ever_ready: bool = False
    restart_at: float | None = None


class Supervisor:
    """Starts and watches members; all methods may be called from any thread."""

    def __init__(
        self, members: Sequence[Member], *, cwd: Path, env: Mapping[str, str], on_line: OnLine
    ) -> None:
        self._members = {member.name: member for member in members}
        self._cwd = cwd
        self._env = dict(env)
        self._on_line = on_line
        self._lock = RLock()
        self._stopping = Event()
        self._watcher: Thread | None = None
        self.broken = Event()
        self.failure: str | None = None

    # -- life -----------------------------------------------------------------------------------

    def start(self, timeout: float, check: Callable[[], None] = lambda: None) -> None:
        """Start all members and wait until each is at work.

        Args:
            check: called while it waits; what it raises breaks the start off.

        Raises:
            EmbeddedFleetError: one of them can't start; the caller stops the others.
        """
        with self._lock:
            for member in self._members.values():
                self._spawn(member)
        self._watcher = Thread(target=self._watch, name="supervisor", daemon=True)
        self._watcher.start()
        deadline = time.monotonic() + timeout
        while not self._all_ready():
            check()
            if self.broken.wait(_POLL_S / 2):
                raise EmbeddedFleetError(self.failure or "a process could not start")
            if time.monotonic() > deadline:
                late = ", ".join(info.name for info in self.processes() if not info.ready)
                raise EmbeddedFleetError(f"Not at work within {timeout:g} s: {late}")

    def stop(self, *, soft_s: float = _SOFT_S) -> None:
        """End all members: TERM lets them finish what they do, QUIT makes them drop it, KILL is last.

        What is dropped is no loss: its run goes on at the next start (`DESIGN §1.1`).
        """
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        with self._lock:
            children = [member.child for member in self._members.values() if member.child is not None]
            for number, patience in ((signal.SIGTERM, soft_s), (signal.SIGQUIT, _HARD_S)):
                self._end(children, number, patience)
            for child in children:
                child.kill_all()
                child.wait(_HARD_S)
                child.close()

    def _end(self, children: Sequence[ChildProcess], number: signal.Signals, patience: float) -> None:
        living = [child for child in children if child.is_running()]
        for child in living:
            child.send(number)
        deadline = time.monotonic() + patience
        for child in living:
            child.wait(max(0.0, deadline - time.monotonic()))

    # -- what is there --------------------------------------------------------------------------

    def processes(self) -> list[ProcessInfo]:
        """All members, in order of their start."""
        with self._lock:
            return [
                ProcessInfo(member.name, child.pid, child.is_running(), child.is_ready(), member.restarts)
                for member in self._members.values()
                if (child := member.child) is not None
            ]

    def kill(self, name: str) -> int:
        """SIGKILL to one member, as a crash would; its pid. It will be restarted.

        Raises:
            KeyError: no such member, or it is not running.
        """
        with self._lock:
            child = self._members[name].child
            if child is None or not child.is_running():
                raise KeyError(f"Process '{name}' of the fleet does not run now")
            child.send(signal.SIGKILL)
            return child.pid

    def _all_ready(self) -> bool:
        return all(info.ready and info.running for info in self.processes())

    # -- watching -------------------------------------------------------------------------------

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            with self._lock:
                for member in self._members.values():
                    self._look_at(member)

    def _look_at(self, member: Member) -> None:
        if member.restart_at is not None:
            if time.monotonic() >= member.restart_at:
                member.restart_at = None
                member.restarts += 1
                self._spawn(member)
            return
        child = member.child
        if child is None or self.broken.is_set():
            return
        if child.is_ready() and not member.was_ready:
            member.was_ready = member.ever_ready = True
            if member.restarts:
                self._on_line(FLEET, f"{member.name} is back (pid {child.pid})")
        if not child.is_running():
            self._died(member, child)

    def _died(self, member: Member, child: ChildProcess) -> None:
        child.close()
        proved = time.monotonic() - child.started_at > _PROVED_S
        member.deaths = 1 if proved else member.deaths + 1
        limit = MAX_DEATHS if member.ever_ready else MAX_DEATHS_AT_START
        if member.deaths >= limit:
            last_words = child.last_lines[-1] if child.last_lines else "(nothing)"
            self.failure = (
                f"Process '{member.name}' died {member.deaths} times in a row ({child.ending}); "
                f"its last words: {last_words}"
            )
            self.broken.set()
            return
        delay = min(_BACKOFF_S * 2.0 ** (member.deaths - 1), _BACKOFF_MAX_S)
        self._on_line(
            FLEET,
            f"{member.name} (pid {child.pid}) died: {child.ending}; "
            f"restarting in {delay:g} s (death {member.deaths} of {limit} in a row)",
        )
        member.restart_at = time.monotonic() + delay

    def _spawn(self, member: Member) -> None:
        name = member.name
        member.was_ready = False
        member.child = ChildProcess(
            member.command,
            cwd=self._cwd,
            env=self._env,
            on_line=lambda line: self._on_line(name, line),
        )
