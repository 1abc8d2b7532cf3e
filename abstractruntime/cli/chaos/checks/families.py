"""Runs and their children: all there, none too many, all ended."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..scripts import PlannedRun

__all__ = ["started_is_there", "whole"]

Complaints = Iterator[tuple[str, str]]


def whole(evidence: Evidence) -> Complaints:
    """Children are as many as were started, and end with (or before) what cancels them."""
    for run in evidence.runs.values():
        children = evidence.children(run.run_id)
        planned = evidence.planned.get(run.run_id)
        if planned is not None and run.status == "completed" and len(children) != planned.children:
            yield run.run_id, f"has {len(children)} children, {planned.children} expected"
        if planned is not None and len(children) > planned.children:
            yield run.run_id, f"has {len(children)} children, at most {planned.children} expected"
        for child in children:
            if not child.is_terminal:
                yield child.run_id, f"is {child.status}, its parent {run.run_id} is {run.status}"
            elif child.status != "completed" and run.status == "completed" and not _may_be_cancelled(planned):
                yield child.run_id, f"is {child.status}, its parent {run.run_id} is completed"
    for run in evidence.runs.values():
        if run.parent_run_id is not None and run.parent_run_id not in evidence.runs:
            yield run.run_id, f"its parent {run.parent_run_id} is not there"


def _may_be_cancelled(planned: PlannedRun | None) -> bool:
    """Cancelling an ended run still cancels what runs below it."""
    return planned is not None and planned.ending.or_cancelled


def started_is_there(evidence: Evidence) -> Complaints:
    """What was acknowledged exists; nothing exists that nobody asked for."""
    for run_id in sorted(evidence.started - evidence.runs.keys()):
        yield run_id, "its start was acknowledged, and it is not there"
    for run_id in sorted(evidence.planned.keys() - evidence.started):
        yield run_id, "its start was never acknowledged"
    for run in evidence.runs.values():
        if run.parent_run_id is None and run.run_id not in evidence.planned:
            yield run.run_id, "nobody has started it"
