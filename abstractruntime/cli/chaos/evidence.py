"""What the checks look at: everything the database holds, what the oracle saw, what the outside was told."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.statements import statement

from .oracle import Call
from .scripts import PlannedRun

__all__ = ["Evidence", "Record", "Run", "Violation", "read_evidence"]

_RUNS = statement(
    "SELECT run_id, workflow_id, status, version, ledger_seq, wake_at, lease_until, parent_run_id, "
    "step_json, run_json FROM runs ORDER BY run_id"
)
_LEDGER = statement("SELECT run_id, seq, record_json FROM ledger ORDER BY run_id, seq")
_EVENTS = statement("SELECT event_id, wait_key FROM events ORDER BY seq")
_NOW = statement("SELECT {now}")

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that did not hold; ``run_id`` may be empty."""

    check: str
    run_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Run:
    """A stored run.

    Attributes:
        state: as stored (`spec/02 §3.1`).
        step: the effect step in flight, as stored.
        ledger: position and record, in order.
    """

    run_id: str
    workflow_id: str
    status: str
    version: int
    ledger_seq: int
    wake_at: float | None
    lease_until: float | None
    parent_run_id: str | None
    step: dict[str, Any] | None
    state: dict[str, Any]
    ledger: Sequence[tuple[int, Record]]

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended."""
        return self.status in ("completed", "failed", "cancelled")

    @property
    def is_paused(self) -> bool:
        """Whether somebody paused it."""
        control = self.state["vars"].get("_runtime", {}).get("control") or {}
        return control.get("paused") is True

    @property
    def records(self) -> list[Record]:
        """The ledger without positions."""
        return [record for _, record in self.ledger]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that is known when the fleet has come to rest.

    Attributes:
        runs: all stored runs by id.
        events: accepted events, in inbox order: id and wait key.
        calls: what the oracle recorded.
        planned: the runs started from outside, by id.
        started: those whose start was acknowledged.
        accepted: acknowledged event ids, with the run they are for.
        now: the database's time.
    """

    runs: Mapping[str, Run]
    events: Sequence[tuple[str, str]]
    calls: Sequence[Call]
    planned: Mapping[str, PlannedRun]
    started: frozenset[str]
    accepted: Mapping[str, str]
    now: float

    def children(self, run_id: str) -> list[Run]:
        """Runs started by a run."""
        return [run for run in self.runs.values() if run.parent_run_id == run_id]


def read_evidence(
    database: Database,
    *,
    calls: Sequence[Call],
    planned: Sequence[PlannedRun],
    started: set[str],
    accepted: Mapping[str, str],
) -> Evidence:
    """Read it all; nothing may be at work meanwhile."""
    rows, ledger, events, now = database.read(
        lambda session: (
            session.execute(_RUNS).fetchall(),
            session.execute(_LEDGER).fetchall(),
            session.execute(_EVENTS).fetchall(),
            session.execute(_NOW).fetchone(),
        )
    )
    ledgers: dict[str, list[tuple[int, Record]]] = defaultdict(list)
    for run_id, seq, text in ledger:
        ledgers[run_id].append((seq, json.loads(text)))
    runs = {row[0]: _run(row, ledgers.pop(row[0], [])) for row in rows}
    if ledgers:
        raise AssertionError(f"ledgers without a run: {sorted(ledgers)[:5]}")
    return Evidence(
        runs=runs,
        events=[(event_id, wait_key) for event_id, wait_key in events],
        calls=[(str(key), str(run_id), int(attempt), bool(ok)) for key, run_id, attempt, ok in calls],
        planned={run.run_id: run for run in planned},
        started=frozenset(started),
        accepted=dict(accepted),
        now=float(now[0]),
    )


def _run(row: Any, ledger: list[tuple[int, Record]]) -> Run:
    run_id, workflow_id, status, version, ledger_seq, wake_at, lease_until, parent, step, state = row
    return Run(
        run_id=run_id,
        workflow_id=workflow_id,
        status=status,
        version=version,
        ledger_seq=ledger_seq,
        wake_at=wake_at,
        lease_until=lease_until,
        parent_run_id=parent,
        step=None if step is None else json.loads(step),
        state=json.loads(state),
        ledger=ledger,
    )
