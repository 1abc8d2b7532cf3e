"""The comparison is worth something: stores broken in one small way each are found out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from abstractruntime.core.models import RunState, StepRecord
from abstractruntime.storage.in_memory import InMemoryLedgerStore, InMemoryRunStore

from .machine import Difference, Stores
from .places import Opening, memory
from .worlds import Opened


class ChildrenInAnotherOrder(InMemoryRunStore):
    def list_children(self, **which: Any) -> list[RunState]:
        return super().list_children(**which)[::-1]


class TimersForgotten(InMemoryRunStore):
    def list_due_wait_until(self, **which: Any) -> list[RunState]:
        return super().list_due_wait_until(**which)[:0]


class ActorsForgotten(InMemoryRunStore):
    def save(self, run: RunState) -> None:
        super().save(run)
        self._runs[run.run_id].actor_id = None


class AnythingIsTaken(InMemoryRunStore):
    def save(self, run: RunState) -> None:
        super().save(RunState.from_dict(json.loads(json.dumps(run.to_dict(), default=str))))


class ReuseForgotten(InMemoryLedgerStore):
    def find_completed(self, run_id: str, key: str) -> None:
        return None


class FailuresForgotten(InMemoryLedgerStore):
    def append(self, record: StepRecord) -> None:
        if record.status != "failed":
            super().append(record)


BREAKAGES: list[tuple[type[InMemoryRunStore], type[InMemoryLedgerStore]]] = [
    (ChildrenInAnotherOrder, InMemoryLedgerStore),
    (TimersForgotten, InMemoryLedgerStore),
    (ActorsForgotten, InMemoryLedgerStore),
    (AnythingIsTaken, InMemoryLedgerStore),
    (InMemoryRunStore, ReuseForgotten),
    (InMemoryRunStore, FailuresForgotten),
]


def broken(runs: Callable[[], Any], ledger: Callable[[], Any]) -> Opening:
    opened = Opened(runs(), ledger())
    return lambda: opened


@pytest.mark.parametrize(("runs", "ledger"), BREAKAGES)
def test_a_broken_store_is_found_out(runs: Callable[[], Any], ledger: Callable[[], Any]) -> None:
    class Broken(Stores):
        def open_places(self, scratch: Path) -> dict[str, Opening]:
            return {"memory": memory(), "broken": broken(runs, ledger)}

    effort = settings(
        max_examples=60,
        stateful_step_count=25,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[*HealthCheck],
        report_multiple_bugs=False,
        database=None,
    )
    with pytest.raises(Difference):
        run_state_machine_as_test(seed(1)(Broken), settings=effort)
