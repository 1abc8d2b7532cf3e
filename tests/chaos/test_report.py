"""The report counts what was seen."""

from __future__ import annotations

from abstractruntime.cli.chaos.evidence import Violation
from abstractruntime.cli.chaos.injector import Injected
from abstractruntime.cli.chaos.kinds import Kind
from abstractruntime.cli.chaos.plan import make_plan
from abstractruntime.cli.chaos.recovery import Recovered
from abstractruntime.cli.chaos.report import Report, figures
from abstractruntime.cli.chaos.schedule import Crew, PlannedFault

KILL = PlannedFault(1.0, Kind.KILL_TICKS, "ticks-1")
AWAY = PlannedFault(2.0, Kind.BROKER_AWAY, lasts_s=2.0)


def report() -> Report:
    plan = make_plan(1, runs=1, seconds=60.0, kinds=(), crew=Crew(), lease_s=3.0)
    made = Report(plan, "postgresql", lasted_s=60.0, commits=600, keys=200, calls=203, duplicates=2)
    made.injected = [
        Injected(KILL, 1.0, 1.1),
        Injected(AWAY, 2.0, 4.0),
        Injected(KILL, 9.0, 9.0, missed="dead"),
    ]
    made.recovered = [
        Recovered(KILL, "kill", 0.0, in_flight=7, first_commit_s=0.1, all_going_s=2.5),
        Recovered(KILL, "kill", 0.0, in_flight=3, first_commit_s=0.2, all_going_s=None),
        Recovered(AWAY, "broker", 0.0, in_flight=0, first_commit_s=0.4, all_going_s=0.0),
    ]
    return made


def test_the_text_has_what_somebody_must_know() -> None:
    text = "\n".join(report().lines())
    assert "seed          1" in text
    assert "2 injected, 1 found their target down" in text
    assert "kill-ticks          1  at 1 s" in text
    assert "2 calls more than needed (1.00% of the keys)" in text
    assert "kill      n=2   first p50 0.1 p95 0.2 max 0.2   all p50 2.5 p95 inf max inf" in text
    assert "(nothing was in flight)" in text
    assert "> 15    1  #" in text
    assert text.endswith("All invariants held.")


def test_a_violation_is_named_with_its_run() -> None:
    broken = report()
    broken.violations.append(Violation("ledger is whole", "run-9", "there is a gap"))
    assert not broken.held
    assert "ledger is whole: there is a gap (run run-9)" in "\n".join(broken.lines())


def test_the_json_form_says_the_same() -> None:
    told = report().to_dict()
    assert told["held"] is True
    assert told["duplicate_call_rate"] == 0.01
    assert told["commits_per_s"] == 10.0
    assert told["recovery"]["kill"] == {"first_commit_s": [0.1, 0.2], "all_going_s": [2.5, None]}
    assert [fault["missed"] for fault in told["faults"]] == ["", "", "dead"]


def test_figures_of_a_sample() -> None:
    assert figures([3.0, 1.0, 2.0]) == {"n": 3, "p50": 2.0, "p95": 3.0, "max": 3.0}
    assert figures([])["n"] == 0
