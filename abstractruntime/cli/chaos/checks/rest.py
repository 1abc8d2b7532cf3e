"""No work is left behind, and nothing happened before its time."""

from __future__ import annotations

from collections.abc import Iterator

from abstractruntime.core.times import parse_time

from ..evidence import Evidence, Run

__all__ = ["is_at_rest", "never_early", "nothing_left_behind"]

Complaints = Iterator[tuple[str, str]]

_CLOCK_S = 0.05  # between this machine's clock and the database's


def nothing_left_behind(evidence: Evidence) -> Complaints:
    """Whoever has not ended waits for something that has not happened, and nobody means to wake it."""
    for run in evidence.runs.values():
        for text in _left_behind(evidence, run):
            yield run.run_id, text


def is_at_rest(evidence: Evidence, run: Run) -> bool:
    """Whether nothing more will happen to a run by itself."""
    return not any(_left_behind(evidence, run))


def _left_behind(evidence: Evidence, run: Run) -> Iterator[str]:
    if run.wake_at is not None:
        late = evidence.now - run.wake_at
        yield f"{run.status} at {run.state['current_node']}, and was to be woken {late:.1f} s ago"
    if run.is_terminal or run.is_paused:
        return
    wait = run.state.get("waiting")
    if run.status != "waiting" or wait is None:
        yield f"left {run.status} at {run.state['current_node']}"
    elif run.step is not None:
        yield f"waits with an effect of {run.step['node_id']} pending"
    elif wait["until"] is not None:
        yield f"its {wait['reason']} wait was due at {wait['until']}"
    elif wait["reason"] == "subworkflow":
        child = evidence.runs.get((wait["wait_key"] or "").removeprefix("subworkflow:"))
        if child is None or child.is_terminal:
            yield f"waits for child {wait['wait_key']}, which is {child.status if child else 'gone'}"
    elif wait["reason"] == "event":
        yield f"waits for the event {wait['wait_key']}, which every listener was sent"


def never_early(evidence: Evidence) -> Complaints:
    """A timer's resumption is not older than its time."""
    for run in evidence.runs.values():
        until = None
        for record in run.records:
            kind = (record["effect"] or {}).get("type")
            if kind == "wait_until" and record["status"] == "waiting":
                until = record["result"]["wait"]["until"]
            elif kind == "resume" and until is not None:
                if record["effect"]["payload"]["wait_reason"] != "until":
                    continue
                early = (parse_time(until) - parse_time(record["ended_at"])).total_seconds()
                if early > _CLOCK_S:
                    yield run.run_id, f"its timer for {until} fired {early:.2f} s early"
                until = None
