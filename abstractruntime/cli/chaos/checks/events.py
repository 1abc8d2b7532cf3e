"""Events: what was accepted is kept, and given to a run once."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence

__all__ = ["consumed_once", "kept"]

Complaints = Iterator[tuple[str, str]]


def consumed_once(evidence: Evidence) -> Complaints:
    """No event resumed the same run twice. (In the workload each event of a run has a payload of its own.)"""
    for run in evidence.runs.values():
        heard: Counter[str] = Counter()
        for record in run.records:
            effect = record["effect"] or {}
            payload = effect.get("payload") or {}
            if effect.get("type") == "resume" and payload.get("wait_reason") == "event":
                heard[json.dumps([payload["wait_key"], payload["payload"]], sort_keys=True)] += 1
        for event, times in heard.items():
            if times > 1:
                yield run.run_id, f"consumed {times} times: {event}"


def kept(evidence: Evidence) -> Complaints:
    """Each acknowledged event is in the inbox, once."""
    inbox = Counter(event_id for event_id, _ in evidence.events)
    for event_id, run_id in evidence.accepted.items():
        if inbox[event_id] != 1:
            yield run_id, f"event {event_id} was acknowledged and is in the inbox {inbox[event_id]} times"
