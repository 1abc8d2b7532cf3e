"""Each check complains about a database in which just its invariant is broken, and about nothing else."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from abstractruntime.cli.chaos.checks import CHECKS, check_all
from abstractruntime.cli.chaos.evidence import Evidence
from abstractruntime.cli.chaos.recovery import _Seen
from abstractruntime.cli.chaos.report import duplicate_calls

from .good import Good, make_good

Record = dict[str, Any]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Good:
    return make_good(tmp_path_factory.mktemp("good"))


class Broken:
    """A copy of the good database, to be broken by hand."""

    def __init__(self, file: Path) -> None:
        self.db = sqlite3.connect(file, isolation_level=None)

    def run(self, workflow: str, status: str = "completed") -> str:
        """A root run of this workflow that ended this way."""
        found = self.db.execute(
            "SELECT run_id FROM runs WHERE workflow_id = ? AND status = ? AND parent_run_id IS NULL "
            "ORDER BY run_id",
            (workflow, status),
        ).fetchone()
        return str(found[0])

    def ledger(self, run_id: str) -> list[tuple[int, Record]]:
        rows = self.db.execute("SELECT seq, record_json FROM ledger WHERE run_id = ? ORDER BY seq", (run_id,))
        return [(seq, json.loads(text)) for seq, text in rows.fetchall()]

    def rewrite(self, run_id: str, seq: int, record: Record) -> None:
        text = json.dumps(record)
        self.db.execute("UPDATE ledger SET record_json = ? WHERE run_id = ? AND seq = ?", (text, run_id, seq))

    def append(self, run_id: str, record: Record) -> None:
        seq = len(self.ledger(run_id)) + 1
        self.db.execute(
            "INSERT INTO ledger (run_id, seq, record_json) VALUES (?, ?, ?)",
            (run_id, seq, json.dumps(record)),
        )
        self.db.execute(
            "UPDATE runs SET ledger_seq = ?, version = version + 9 WHERE run_id = ?", (seq, run_id)
        )

    def state(self, run_id: str, **fields: object) -> None:
        text = self.db.execute("SELECT run_json FROM runs WHERE run_id = ?", (run_id,)).fetchone()[0]
        changed = json.dumps({**json.loads(text), **fields})
        self.db.execute("UPDATE runs SET run_json = ? WHERE run_id = ?", (changed, run_id))


def _lose_a_record(broken: Broken) -> None:
    broken.db.execute("DELETE FROM ledger WHERE run_id = ? AND seq = 2", (broken.run("steps"),))


def _count_a_record_less(broken: Broken) -> None:
    broken.db.execute("UPDATE runs SET ledger_seq = ledger_seq - 1 WHERE run_id = ?", (broken.run("steps"),))


def _complete_a_step_twice(broken: Broken) -> None:
    """As if two workers had committed the same step."""
    run_id = broken.run("ask")
    done = [(seq, record) for seq, record in broken.ledger(run_id) if record["effect"]]
    seq, first = done[0]
    broken.rewrite(run_id, seq, {**first, "step_id": done[-1][1]["step_id"], "status": done[-1][1]["status"]})


def _leave_an_attempt(broken: Broken) -> None:
    """Its outcome is lost, and the run has gone on."""
    run_id = broken.run("steps")
    seq, record = next(
        (seq, record)
        for seq, record in broken.ledger(run_id)
        if record["status"] == "completed" and record["idempotency_key"]
    )
    broken.rewrite(run_id, seq, {**record, "idempotency_key": None, "step_id": "another"})


def _lose_versions(broken: Broken) -> None:
    broken.db.execute("UPDATE runs SET version = 2 WHERE run_id = ?", (broken.run("steps"),))


def _work_after_the_cancellation(broken: Broken) -> None:
    last = broken.ledger("cancelled")[-1][1]
    broken.append("cancelled", {**last, "step_id": "late", "idempotency_key": None, "effect": None})


def _end_twice(broken: Broken) -> None:
    run_id = broken.run("steps")
    broken.append(run_id, {**broken.ledger(run_id)[-1][1], "step_id": "again"})


def _give_something_else(broken: Broken) -> None:
    broken.state(broken.run("listen"), output={"heard": [{"n": 1}, {"n": 3}, {"n": 2}]})


def _forget_to_fail(broken: Broken) -> None:
    broken.state(broken.run("poison", "failed"), error="somebody tripped")


def _forget_a_timer(broken: Broken) -> None:
    broken.db.execute("UPDATE runs SET wake_at = 1 WHERE run_id = ?", (broken.run("sleep"),))


def _fire_early(broken: Broken) -> None:
    run_id = broken.run("sleep")
    for seq, record in broken.ledger(run_id):
        if (record["effect"] or {}).get("type") == "wait_until" and record["status"] == "waiting":
            record["result"]["wait"]["until"] = "2999-01-01T00:00:00+00:00"
            broken.rewrite(run_id, seq, record)
            return


def _consume_twice(broken: Broken) -> None:
    run_id = broken.run("listen")
    resumed = [
        (seq, record)
        for seq, record in broken.ledger(run_id)
        if (record["effect"] or {}).get("type") == "resume"
        and record["effect"]["payload"]["wait_reason"] == "event"
    ]
    (_, first), (seq, second) = resumed[:2]
    second["effect"]["payload"]["payload"] = first["effect"]["payload"]["payload"]
    broken.rewrite(run_id, seq, second)


def _lose_an_event(broken: Broken) -> None:
    broken.db.execute(
        "DELETE FROM events WHERE event_id LIKE 'chaos-%' AND seq = (SELECT max(seq) FROM events)"
    )


def _a_child_too_many(broken: Broken) -> None:
    child = broken.db.execute("SELECT run_id FROM runs WHERE parent_run_id IS NOT NULL").fetchone()[0]
    for table in ("runs", "ledger"):
        columns = [row[1] for row in broken.db.execute(f"PRAGMA table_info({table})")]
        chosen = ", ".join("'another'" if name == "run_id" else name for name in columns)
        broken.db.execute(f"INSERT INTO {table} SELECT {chosen} FROM {table} WHERE run_id = ?", (child,))
    for seq, record in broken.ledger("another"):
        broken.rewrite(
            "another", seq, {**record, "run_id": "another", "idempotency_key": None, "effect": None}
        )


def _anothers_result(broken: Broken) -> None:
    run_id = broken.run("charge")
    for seq, record in broken.ledger(run_id):
        if (record["effect"] or {}).get("type") == "llm_call" and record["status"] == "completed":
            broken.rewrite(run_id, seq, {**record, "result": {"receipt": "of somebody else"}})


def _lose_a_run(broken: Broken) -> None:
    run_id = broken.run("steps")
    for table in ("runs", "ledger"):
        broken.db.execute(f"DELETE FROM {table} WHERE run_id = ?", (run_id,))


BREAKAGES: list[tuple[str, Callable[[Broken], None]]] = [
    ("ledger is whole", _lose_a_record),
    ("ledger is whole", _count_a_record_less),
    ("steps are committed once", _complete_a_step_twice),
    ("steps are committed once", _leave_an_attempt),
    ("version counts commits", _lose_versions),
    ("nothing after the end", _work_after_the_cancellation),
    ("nothing after the end", _end_twice),
    ("endings are the planned ones", _give_something_else),
    ("endings are the planned ones", _forget_to_fail),
    ("nothing is left behind", _forget_a_timer),
    ("timers are never early", _fire_early),
    ("events are consumed once", _consume_twice),
    ("accepted events are kept", _lose_an_event),
    ("families are whole", _a_child_too_many),
    ("oracle and ledgers agree", _anothers_result),
    ("what was started is there", _lose_a_run),
]


def test_nothing_is_wrong_with_a_run_without_faults(good: Good) -> None:
    evidence = good.evidence()
    assert check_all(evidence) == []
    assert duplicate_calls(evidence) == 0
    assert {run.workflow_id for run in evidence.runs.values()} >= {
        "steps",
        "charge",
        "listen",
        "family",
        "poison",
    }


@pytest.mark.parametrize(("check", "breakage"), BREAKAGES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_check_sees_its_invariant_broken(
    good: Good, tmp_path: Path, check: str, breakage: Callable[[Broken], None]
) -> None:
    file = tmp_path / "broken.db"
    shutil.copy(good.file, file)
    broken = Broken(file)
    breakage(broken)
    broken.db.close()
    found = check_all(good.evidence(file))
    assert check in {violation.check for violation in found}


def test_every_check_is_proved() -> None:
    assert {check for check, _ in BREAKAGES} == set(CHECKS)


def _complaints(evidence: Evidence) -> str:
    return " | ".join(text for _, text in CHECKS["oracle and ledgers agree"](evidence))


def test_a_call_that_nobody_claimed(good: Good) -> None:
    doubled = [*good.calls, good.calls[0]]
    assert "was called 2 times, claimed 1 times" in _complaints(good.evidence(calls=doubled))


def test_a_result_without_a_call(good: Good) -> None:
    key = good.calls[-1][0]
    forgotten = [call for call in good.calls if call[0] != key]
    assert "the oracle was never called with it" in _complaints(good.evidence(calls=forgotten))


def test_a_call_whose_result_is_in_no_ledger(good: Good) -> None:
    run_id = good.calls[0][1]
    extra = [*good.calls, ("unheard-of", run_id, 1, True)]
    assert "no ledger has its result" in _complaints(good.evidence(calls=extra))


def test_what_goes_back_in_time_is_seen() -> None:
    seen = _Seen()
    seen.look(
        [("a", 5, 7, "running"), ("b", 9, 9, "completed"), ("c", 1, 0, "running"), ("d", 3, 3, "failed")]
    )
    seen.look(
        [("a", 6, 8, "running"), ("b", 9, 9, "completed"), ("c", 1, 0, "running"), ("d", 4, 4, "running")]
    )
    assert seen.complaints == []
    seen.look([("a", 5, 8, "running"), ("b", 10, 9, "running"), ("d", 5, 3, "running")])
    assert [run_id for run_id, _ in seen.complaints] == ["a", "b", "d", "c"]
