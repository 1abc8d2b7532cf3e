"""How runs end: as planned, and with nothing after it."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence, Run
from ..scripts import PlannedRun
from .ledgers import is_status_event

__all__ = ["as_planned", "nothing_after_the_end"]

Complaints = Iterator[tuple[str, str]]


def nothing_after_the_end(evidence: Evidence) -> Complaints:
    """One status event per end, last in the ledger; after a cancellation the outcome of the one effect that
    was in flight may follow (an outcome is never thrown away)."""
    for run in evidence.runs.values():
        for text in _after_the_end(run):
            yield run.run_id, text


def _after_the_end(run: Run) -> Iterator[str]:
    records = run.records
    ends = [index for index, record in enumerate(records) if is_status_event(record)]
    retries = sum((record["effect"] or {}).get("type") == "retry" for record in records)
    expected = retries + (1 if run.is_terminal else 0)
    if len(ends) != expected:
        yield f"{len(ends)} status events of an end, {expected} expected"
    if not run.is_terminal or not ends:
        return
    told = records[ends[-1]]["effect"]["payload"]["payload"]["text"]
    if told != run.status:
        yield f"the ledger says it ended {told}, it is {run.status}"
    after = records[ends[-1] + 1 :]
    if run.status != "cancelled":
        # Limits may be changed at any time, and leave no record; nothing else may happen.
        after_end = [record for record in after if (record["effect"] or {}).get("type") != "limits"]
        if after_end:
            yield f"{len(after_end)} records after the end"
        return
    open_before = {record["step_id"] for record in records[: ends[-1]] if record["status"] == "started"} - {
        record["step_id"] for record in records[: ends[-1]] if record["status"] != "started"
    }
    for record in after:
        if record["status"] == "started" or record["step_id"] not in open_before:
            yield f"a {record['status']} record of {record['node_id']} after the cancellation"
    if len(after) > 1:
        yield f"{len(after)} records after the cancellation; one effect can have been in flight"


def as_planned(evidence: Evidence) -> Complaints:
    """Status and output follow from the plan alone."""
    for run_id in sorted(evidence.started):
        run = evidence.runs.get(run_id)
        if run is None:
            continue  # `families.started_is_there` says so
        found = _as_planned(run, evidence.planned[run_id])
        if found:
            yield run_id, found


def _as_planned(run: Run, planned: PlannedRun) -> str:
    ending = planned.ending
    if run.status == "cancelled" and ending.or_cancelled:
        return ""
    if run.is_paused and ending.or_paused:
        return ""
    if run.status != ending.status:
        why = run.state.get("error") or f"at {run.state['current_node']}, waiting: {run.state.get('waiting')}"
        return f"should be {ending.status}, is {run.status} ({why})"
    if ending.status == "completed" and run.state["output"] != ending.output:
        return f"should give {ending.output}, gives {run.state['output']}"
    if ending.error and ending.error not in (run.state.get("error") or ""):
        return f"should fail with '{ending.error}', has failed with '{run.state.get('error')}'"
    return ""
