"""Effects with outside contact: the oracle's book against the ledgers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence, Record
from ..oracle import receipt

__all__ = ["OUTSIDE", "agree_with_the_oracle"]

Complaints = Iterator[tuple[str, str]]

OUTSIDE = ("tool_calls", "llm_call")
"""Effect types that call the oracle."""


def agree_with_the_oracle(evidence: Evidence) -> Complaints:
    """Each key in a ledger was called; each call was claimed before it was made; each key that was called
    ended COMPLETED exactly once, with what the oracle gave."""
    called = Counter((run_id, key, attempt) for key, run_id, attempt, _ in evidence.calls)
    accepted = {(run_id, key) for key, run_id, _, ok in evidence.calls if ok}
    claimed: Counter[tuple[str, str, int]] = Counter()
    completed: Counter[tuple[str, str]] = Counter()
    for run in evidence.runs.values():
        for record in run.records:
            if (record["effect"] or {}).get("type") not in OUTSIDE:
                continue
            key = record["idempotency_key"]
            if record["status"] == "started":
                claimed[run.run_id, key, record["attempt"]] += 1
            elif record["status"] == "completed":
                completed[run.run_id, key] += 1
                if record["result"]["receipt"] != _expected(record):
                    yield run.run_id, f"key {key} holds another call's result: {record['result']}"
    for (run_id, key), times in completed.items():
        if times > 1:
            yield run_id, f"key {key} completed {times} times"
        if (run_id, key) not in accepted:
            yield run_id, f"key {key} is completed, and the oracle was never called with it"
    for (run_id, key, attempt), times in called.items():
        if times > claimed[run_id, key, attempt]:
            yield (
                run_id,
                f"attempt {attempt} of key {key} was called {times} times, claimed "
                f"{claimed[run_id, key, attempt]} times",
            )
    for run_id, key in sorted({(run_id, key) for key, run_id, _, _ in evidence.calls} - completed.keys()):
        found = evidence.runs.get(run_id)
        if found is None or (found.status != "cancelled" and not found.is_paused):
            yield run_id, f"key {key} was called, and no ledger has its result"


def _expected(record: Record) -> str:
    payload = record["effect"]["payload"]
    calls = payload.get("tool_calls")
    arguments = calls[0]["arguments"] if calls else payload
    return receipt(arguments["name"], arguments["n"])
