"""Watches the database during the chaos: how soon work goes on after each fault, and what must never be seen.

A fault's recovery is counted from the moment from which it is possible: a kill or a freeze from its
beginning, an outage of a server from its end.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

from abstractruntime.core.errors import RuntimeFault
from abstractruntime.core.models import TERMINAL_STATUSES, RunStatus
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.statements import Statement, statement

from .schedule import PlannedFault

__all__ = ["Recovered", "Recovery"]

_LOOK_S = 0.1
_LOOKS_PER_SCAN = 5
_COMMITS = statement("SELECT coalesce(sum(version), 0) FROM runs")
_IN_FLIGHT = statement("SELECT run_id, version FROM runs WHERE status = 'running'")
_NOT_RESTING = statement(
    "SELECT run_id, version FROM runs WHERE status = 'running' AND coalesce(due_at, 0) <= {now}"
)
_SCAN = statement("SELECT run_id, version, ledger_seq, status FROM runs")
_TERMINAL = frozenset(status.value for status in TERMINAL_STATUSES)

Row = tuple[str, int, int, str]


@dataclass(slots=True)
class Recovered:
    """How a fleet recovered from one fault.

    Attributes:
        group: kill, freeze, broker or database.
        in_flight: runs that were on their way at that moment.
        first_commit_s: seconds until any run was committed; ``None`` if none was seen.
        all_going_s: seconds until each of the runs in flight had been committed; ``None`` if one was not.
    """

    planned: PlannedFault
    group: str
    since: float
    commits: int | None = None
    waiting_for: dict[str, int] | None = None
    in_flight: int = 0
    first_commit_s: float | None = None
    all_going_s: float | None = None


@dataclass(slots=True)
class _Seen:
    """The last known version, ledger position and status of each run."""

    rows: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    complaints: list[tuple[str, str]] = field(default_factory=list)

    def look(self, rows: list[Row]) -> None:
        """What goes back in time was lost after it was committed."""
        there = set()
        for run_id, version, ledger_seq, status in rows:
            there.add(run_id)
            before = self.rows.get(run_id)
            if before is not None:
                self._compare(run_id, before, (version, ledger_seq, status))
            self.rows[run_id] = (version, ledger_seq, status)
        for run_id in self.rows.keys() - there:
            self.complaints.append((run_id, "a committed run is gone"))
            del self.rows[run_id]

    def _compare(self, run_id: str, before: tuple[int, int, str], after: tuple[int, int, str]) -> None:
        if after[0] < before[0] or after[1] < before[1]:
            self.complaints.append((run_id, f"went back from (version, ledger) {before[:2]} to {after[:2]}"))
        if before[2] in _TERMINAL and after[2] != before[2] and before[2] != RunStatus.FAILED.value:
            self.complaints.append((run_id, f"had ended {before[2]} and is {after[2]} again"))


class Recovery:
    """A thread over a connection of its own; `start` and `stop` it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = Lock()
        self._stopping = Event()
        self._open: list[Recovered] = []
        self._seen = _Seen()
        self._commits = 0
        self.found: list[Recovered] = []
        self._thread = Thread(target=self._watch, name="recovery", daemon=True)

    @property
    def commits(self) -> int:
        """Commits of all runs, when last seen."""
        return self._commits

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """What went back in time: run id, and how."""
        return self._seen.complaints

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()
        self._thread.join()

    def begin(self, planned: PlannedFault, group: str) -> None:
        """From now on the fleet can recover from this fault."""
        recovered = Recovered(planned, group, time.monotonic(), commits=self._commits)
        with self._lock:
            self._open.append(recovered)
            self.found.append(recovered)

    def _watch(self) -> None:
        look = 0
        while not self._stopping.wait(_LOOK_S):
            look += 1
            try:
                self._look(scan=look % _LOOKS_PER_SCAN == 0)
            except RuntimeFault:
                continue  # the database is away: that is what is being tested

    def _look(self, *, scan: bool) -> None:
        with self._lock:
            open_faults = list(self._open)
        self._commits = self._read(_COMMITS)[0][0]
        now = time.monotonic()
        if any(fault.waiting_for is None for fault in open_faults):
            in_flight = dict(self._read(_NOT_RESTING))
            for fault in open_faults:
                if fault.waiting_for is None:
                    fault.waiting_for, fault.in_flight = dict(in_flight), len(in_flight)
        if open_faults:
            self._close(open_faults, dict(self._read(_IN_FLIGHT)), now)
        if scan:
            self._seen.look(self._read(_SCAN))

    def _close(self, open_faults: list[Recovered], running: dict[str, int], now: float) -> None:
        for fault in open_faults:
            if fault.first_commit_s is None and self._commits > (fault.commits or 0):
                fault.first_commit_s = now - fault.since
            assert fault.waiting_for is not None
            left = {run: version for run, version in fault.waiting_for.items() if running.get(run) == version}
            fault.waiting_for = left
            if not left:
                fault.all_going_s = now - fault.since
        with self._lock:
            self._open = [fault for fault in self._open if fault.waiting_for or fault.first_commit_s is None]

    def _read(self, what: Statement) -> list[Any]:
        return list(self._database.read(lambda session: session.execute(what).fetchall()))
