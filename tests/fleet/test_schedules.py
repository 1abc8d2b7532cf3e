"""Schedules: each occurrence starts one run, whatever number of beats looks."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from abstractruntime.app import App, Cron, Every
from abstractruntime.core.errors import AppError, ConfigurationError
from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.checkpoints import RunFilter
from workers.schedules import check_schedules, fire_due, occurrence_run_id

from .bench import Bench

NIGHT = 1_800_064_800.0  # 2027-01-16T02:00:00Z


def report(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("report", complete_output=run.vars["_meta"])


def deployment(*schedules: Cron | Every) -> Bench:
    return Bench(App(workflows=[WorkflowSpec("report", "report", {"report": report})], schedules=schedules))


def test_an_interval_starts_one_run_for_each_occurrence() -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report", vars={"x": 1}))
    assert fire_due(bench.deployment) == 0, "a new schedule begins with its next occurrence"
    bench.time += 60 * 3
    assert fire_due(bench.deployment) == 3
    assert fire_due(bench.deployment) == 0
    bench.drain()
    runs = [bench.run(row.run_id) for row in bench.store.find_runs(RunFilter())]
    assert {run.vars["x"] for run in runs} == {1}
    assert len({run.output["schedule"]["nominal_time"] for run in runs if run.output}) == 3


def test_ten_beats_at_once_start_an_occurrence_once() -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report"))
    fire_due(bench.deployment)
    bench.time += 61
    with ThreadPoolExecutor(10) as pool:
        started = list(pool.map(lambda _: fire_due(bench.deployment), range(10)))
    assert sum(started) == 1
    assert bench.store.status_counts() == {"running": 1}


def test_a_crash_between_start_and_bookkeeping_starts_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report"))
    fire_due(bench.deployment)
    bench.time += 61
    with monkeypatch.context() as patch:
        patch.setattr(bench.store, "advance_schedule", lambda *args, **kwargs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fire_due(bench.deployment)
    assert fire_due(bench.deployment) == 0
    assert len(bench.store.find_runs(RunFilter())) == 1


def test_occurrences_older_than_the_catch_up_window_are_skipped() -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report", catch_up_s=120.0))
    fire_due(bench.deployment)
    bench.time += 3600
    assert fire_due(bench.deployment) == 2


def test_a_cron_line_is_read_in_its_time_zone() -> None:
    paris = Cron("night", "0 2 * * *", workflow_id="report", timezone="Europe/Paris")
    assert list(paris.occurrences(NIGHT - 86400, NIGHT)) == [NIGHT - 3600]


def test_the_hour_that_is_skipped_or_doubled_fires_once_a_day() -> None:
    paris = Cron("night", "30 2 * * *", workflow_id="report", timezone="Europe/Paris")
    for around in (1_806_192_000.0, 1_824_940_800.0):  # 2027-03-28 and 2027-10-31, at 00:00 UTC or later
        day = around - around % 86400
        assert len(list(paris.occurrences(day - 43200, day + 43200))) == 1


def test_run_ids_differ_between_schedules_and_times() -> None:
    ids = {occurrence_run_id(name, time) for name in ("a", "b") for time in (NIGHT, NIGHT + 1)}
    assert len(ids) == 4
    assert occurrence_run_id("a", NIGHT) == occurrence_run_id("a", NIGHT)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Cron("s", "61 * * * *", workflow_id="report"), "can't read cron line '61 * * * *'"),
        (lambda: Cron("s", "* * * * *", workflow_id="report", timezone="Mars/Base"), "unknown time zone"),
        (lambda: Every("s", 0.0, workflow_id="report"), "seconds must be positive"),
        (lambda: deployment(Every("s", 5.0, workflow_id="nope")), "which is not declared (declared: report)"),
        (
            lambda: deployment(Every("s", 5.0, workflow_id="report"), Every("s", 6.0, workflow_id="report")),
            "two schedules are called 's'",
        ),
    ],
)
def test_a_wrong_schedule_says_what_is_wrong(make: object, message: str) -> None:
    with pytest.raises(AppError) as error:
        make()  # type: ignore[operator]
    assert message in str(error.value)


def test_a_wrong_entry_of_beat_schedule_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report"))
    wrong = Every("wrong", 60.0, workflow_id="nope")
    right = Every("right", 60.0, workflow_id="report")
    monkeypatch.setattr("beat_schedule.SCHEDULES", [wrong, right])
    fire_due(bench.deployment)
    bench.time += 61
    assert fire_due(bench.deployment) == 2
    with pytest.raises(ConfigurationError, match="'wrong' starts workflow 'nope'"):
        check_schedules(bench.app)


def test_a_schedule_of_beat_schedule_that_shares_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = deployment(Every("tick", 60.0, workflow_id="report"))
    monkeypatch.setattr("beat_schedule.SCHEDULES", [Every("tick", 5.0, workflow_id="report")])
    with pytest.raises(ConfigurationError, match="Two schedules are called 'tick'"):
        check_schedules(bench.app)
