"""What must hold for any run, whatever was done to its fleet (`DESIGN §1.2`, §1.3, §7.1).

Checked from the stored checkpoint and ledger alone, so the simulation, the crash tests and anything else that
can read a store share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.storage.checkpoints import Checkpoint, LedgerEntry

__all__ = ["STATUS_KEY", "attempts", "calls", "is_status_event", "run_is_whole"]

Record = dict[str, Any]
STATUS_KEY = "system:terminal_status:"


def run_is_whole(checkpoint: Checkpoint, entries: Sequence[LedgerEntry]) -> Iterator[str]:
    """All that is broken about one run, in words."""
    run = checkpoint.run
    records = [entry.record for entry in entries]
    if [entry.seq for entry in entries] != list(range(1, checkpoint.ledger_seq + 1)):
        yield f"ledger_seq is {checkpoint.ledger_seq}, positions are {[entry.seq for entry in entries]}"
    yield from attempts(run, records, at_rest=run.is_terminal)
    yield from _ending(run, records)
    if run.is_terminal:
        for name in ("wake_at", "lease_until", "step"):
            if getattr(checkpoint, name) is not None:
                yield f"it has ended, but {name} is {getattr(checkpoint, name)}"


def attempts(run: RunState, ledger: Sequence[Record], *, at_rest: bool = True) -> Iterator[str]:
    """Every outcome has its STARTED record; attempts of a key count on; nothing completes twice.

    Args:
        at_rest: nobody works on the run, so no attempt may be open.
    """
    started: dict[str, Record] = {}
    ended: set[str] = set()
    last: dict[str, Record] = {}
    completed: set[str] = set()
    for record in ledger:
        step, key, status = record["step_id"], record["idempotency_key"], record["status"]
        if (record["effect"] or {}).get("type") == "retry":
            last.clear()
        if key is None or is_status_event(record):
            continue
        if status == "started":
            if step in started:
                yield f"step {step} was started twice"
            yield from _follows(last.get(key), record, last.get(key, {}).get("step_id") in ended)
            started[step] = last[key] = record
            continue
        if step in ended:
            yield f"step {step} has two outcomes"
        if step not in started:
            yield f"step {step} has an outcome and no STARTED record"
        elif started[step]["effect"] != record["effect"]:
            yield f"step {step} ended with another payload than it was started with"
        ended.add(step)
        if status in ("completed", "waiting"):
            last.pop(key, None)
        if status == "completed":
            if key in completed:
                yield f"key {key} of node {record['node_id']} completed twice"
            completed.add(key)
    for key, record in last.items() if at_rest else ():
        if record["step_id"] not in ended and run.status is not RunStatus.CANCELLED and not is_paused(run):
            yield f"attempt {record['attempt']} of key {key} was started and left"


def _follows(previous: Record | None, record: Record, previous_ended: bool) -> Iterator[str]:
    expected = 1 if previous is None else previous["attempt"] + 1
    if record["attempt"] != expected:
        state = "ended" if previous_ended else "open"
        yield (
            f"attempt {record['attempt']} of node {record['node_id']} was started where {expected} follows "
            f"(the one before is {state})"
        )


def _ending(run: RunState, ledger: Sequence[Record]) -> Iterator[str]:
    """One status event per end (a retry opens the run again), and it is last but for late outcomes."""
    events = [index for index, record in enumerate(ledger) if is_status_event(record)]
    retries = sum((record["effect"] or {}).get("type") == "retry" for record in ledger)
    expected = retries + (1 if run.is_terminal else 0)
    if len(events) != expected:
        yield f"{len(events)} terminal status events, {expected} expected"
    if not run.is_terminal or not events:
        return
    told = ledger[events[-1]]["effect"]["payload"]["payload"]["text"]
    if told != run.status.value:
        yield f"the status event says {told}, the run is {run.status.value}"
    after = ledger[events[-1] + 1 :]
    if after and run.status is not RunStatus.CANCELLED:
        yield f"{len(after)} records after the end"


def calls(ledgers: Sequence[Sequence[LedgerEntry]], counted: dict[str, int]) -> Iterator[str]:
    """The outside's own count of calls per key against the ledgers.

    A key is called at most once per STARTED record (the claim is durable first), and at least once if an
    outcome of it was recorded.
    """
    started: Counter[str] = Counter()
    completed: set[str] = set()
    for entries in ledgers:
        for entry in entries:
            record = entry.record
            if (record["effect"] or {}).get("type") not in ("llm_call", "tool_calls"):
                continue
            started[record["idempotency_key"]] += record["status"] == "started"
            if record["status"] == "completed":
                completed.add(record["idempotency_key"])
    for key, times in counted.items():
        if times > started[key]:
            yield f"key {key} was called {times} times, started {started[key]} times"
    for key in completed - counted.keys():
        yield f"key {key} has completed, but the outside was never called"


def is_status_event(record: Record) -> bool:
    """Whether the record is the closing ``abstract.status`` of a run."""
    return (record["idempotency_key"] or "").startswith(STATUS_KEY)
