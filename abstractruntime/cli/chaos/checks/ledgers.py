"""The books: no gap, no fork, each step once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence, Record, Run

__all__ = ["is_status_event", "is_whole", "steps_once", "version_counts"]

Complaints = Iterator[tuple[str, str]]

_STATUS_KEY = "system:terminal_status:"


def is_status_event(record: Record) -> bool:
    """Whether a record tells of the run's end."""
    return (record["idempotency_key"] or "").startswith(_STATUS_KEY)


def is_whole(evidence: Evidence) -> Complaints:
    """Positions are 1 to n, n is the run's; all records are the run's own."""
    for run in evidence.runs.values():
        positions = [seq for seq, _ in run.ledger]
        if positions != list(range(1, len(positions) + 1)):
            yield run.run_id, f"the ledger has gaps: positions {positions}"
        if len(positions) != run.ledger_seq:
            yield run.run_id, f"the ledger has {len(positions)} records, the run counts {run.ledger_seq}"
        if any(record["run_id"] != run.run_id for record in run.records):
            yield run.run_id, "the ledger holds a record of another run"


def steps_once(evidence: Evidence) -> Complaints:
    """Each attempt is started once and has one outcome; each key completes once."""
    for run in evidence.runs.values():
        for text in _attempts(run):
            yield run.run_id, text


def _attempts(run: Run) -> Iterator[str]:
    started: dict[str, Record] = {}
    ended: set[str] = set()
    completed: set[str] = set()
    last: dict[str, Record] = {}
    seen: Counter[tuple[str, str]] = Counter()
    for record in run.records:
        step, key, status = record["step_id"], record["idempotency_key"], record["status"]
        seen[step, status] += 1
        if seen[step, status] > 1:
            yield f"step {step} of {record['node_id']} is there twice as {status}"
        if key is None or is_status_event(record):
            continue
        if status == "started":
            expected = last[key]["attempt"] + 1 if key in last else 1
            if record["attempt"] != expected:
                yield f"attempt {record['attempt']} of {record['node_id']} was started, {expected} follows"
            started[step] = last[key] = record
            continue
        if step not in started:
            yield f"step {step} of {record['node_id']} has an outcome and was not started"
        if step in ended:
            yield f"step {step} of {record['node_id']} has two outcomes"
        ended.add(step)
        if status in ("completed", "waiting"):
            last.pop(key, None)
        if status == "completed":
            if key in completed:
                yield f"key {key} of {record['node_id']} completed twice"
            completed.add(key)
    for key, record in last.items():
        if record["step_id"] not in ended and run.status != "cancelled" and not run.is_paused:
            yield f"attempt {record['attempt']} of {record['node_id']} (key {key}) was started and left"


def version_counts(evidence: Evidence) -> Complaints:
    """The version is at least what the ledger needs: one for the insertion, one per attempt of an effect."""
    for run in evidence.runs.values():
        attempts = {
            record["step_id"]
            for record in run.records
            if record["idempotency_key"] and not is_status_event(record)
        }
        if run.version < 1 + len(attempts):
            yield run.run_id, f"version {run.version}, but the ledger tells of {len(attempts)} attempts"
