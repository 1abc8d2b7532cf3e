"""Hosts that write over a method of a store find between the writes of a step what `spec/02 §9` says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import EffectType, RunState, StepRecord, StepStatus
from abstractruntime.core.runtime import EffectOutcome, Runtime
from abstractruntime.storage.sqlite import SqliteDatabase, SqliteLedgerStore, SqliteRunStore
from tests.kernel.flows import asks, done, flow

WORKFLOW = flow(a=asks(EffectType.LLM_CALL), done=done)


class Killed(BaseException):
    """The process ends here."""


class Bench:
    """A run whose one effect counts its calls, over a SQLite file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls = 0
        database = SqliteDatabase(path)
        self.runs: Any = SqliteRunStore(database)
        self.ledger: Any = SqliteLedgerStore(database)

    def runtime(self, runs: Any, ledger: Any) -> Runtime:
        def effect(*_: object) -> EffectOutcome:
            self.calls += 1
            return EffectOutcome.completed({"text": "hi"})

        return Runtime(run_store=runs, ledger_store=ledger, effect_handlers={EffectType.LLM_CALL: effect})

    def on_disk(self, run_id: str) -> list[str]:
        """The ledger as another process sees it."""
        return [record["status"] for record in SqliteLedgerStore(SqliteDatabase(self.path)).list(run_id)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "runs.db")


def test_the_outcome_is_on_disk_before_the_checkpoint(bench: Bench) -> None:
    seen: list[list[str]] = []
    save: Callable[[RunState], None] = bench.runs.save
    runtime = bench.runtime(bench.runs, bench.ledger)
    run_id = runtime.start(workflow=WORKFLOW)

    def looks(run: RunState) -> None:
        seen.append(bench.on_disk(run_id))
        save(run)

    bench.runs.save = looks
    runtime.tick(workflow=WORKFLOW, run_id=run_id)
    assert seen[0] == ["started", "completed"]


def test_an_outcome_outlives_a_death_right_after_its_record(bench: Bench) -> None:
    class Dying(SqliteLedgerStore):
        def append(self, record: StepRecord) -> None:
            super().append(record)
            if record.status is StepStatus.COMPLETED:
                raise Killed

    runtime = bench.runtime(bench.runs, Dying(SqliteDatabase(bench.path)))
    run_id = runtime.start(workflow=WORKFLOW)
    with pytest.raises(Killed):
        runtime.tick(workflow=WORKFLOW, run_id=run_id)
    again = bench.runtime(bench.runs, bench.ledger)
    assert again.tick(workflow=WORKFLOW, run_id=run_id).output == {"out": {"text": "hi"}}
    assert bench.calls == 1
    assert bench.on_disk(run_id)[:2] == ["started", "completed"]
