"""Runs and records to make histories of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from abstractruntime.core.models import RunState, RunStatus, StepRecord, StepStatus


class PlainLedgerStore:
    """No more than the contract asks of a ledger store; hands out what it holds."""

    def __init__(self) -> None:
        self.records: dict[str, list[dict[str, Any]]] = {}

    def append(self, record: StepRecord) -> None:
        self.records.setdefault(record.run_id, []).append(record.to_dict())

    def list(self, run_id: str) -> list[dict[str, Any]]:
        return self.records.get(run_id, [])


@dataclass
class Stores:
    runs: Any
    ledgers: Any

    def run(self, run_id: str = "r", **fields: Any) -> RunState:
        values: dict[str, Any] = {
            "workflow_id": "wf",
            "status": RunStatus.COMPLETED,
            "current_node": "end",
            "created_at": "2026-01-01T00:00:00+00:00",
            "updated_at": "2026-01-01T00:00:00+00:00",
        }
        run = RunState(run_id=run_id, **{**values, **fields})
        self.runs.save(run)
        return run

    def record(
        self,
        run_id: str = "r",
        *,
        second: int = 0,
        kind: str = "vars_query",
        payload: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """A completed record that took the second before ``second``."""
        values: dict[str, Any] = {
            "step_id": f"s{second}",
            "node_id": "n",
            "status": StepStatus.COMPLETED,
            "effect": {"type": kind, "payload": payload or {}, "result_key": None},
            "result": result,
            "started_at": f"2026-01-01T00:01:{second:02}+00:00",
            "ended_at": f"2026-01-01T00:01:{second:02}Z",
        }
        self.ledgers.append(StepRecord(run_id=run_id, **{**values, **fields}))
