"""The page of figures says what the committed results say."""

from __future__ import annotations

import pytest

from benchmarks.goals import judged
from benchmarks.report import BLOCKS, PAGE, Results, load_results, with_figures


def test_the_page_has_the_figures_of_the_committed_results() -> None:
    page = PAGE.read_text(encoding="utf-8")
    stale = "docs/performance.md is out of date: run `python -m benchmarks.report`"
    assert page == with_figures(page, load_results()), stale


def test_every_block_is_on_the_page() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [name for name in BLOCKS if f"<!-- figures: {name} -->\n" not in page] == []


def test_a_page_without_results_says_so() -> None:
    assert "No run of `python -m benchmarks` is committed." in BLOCKS["own-run"](Results({}, {}))
    assert BLOCKS["throughput"](Results({}, {})) == "Not in the committed results.\n"
    assert {reached for _, _, reached in judged({})} == {None}


def test_an_unknown_block_is_refused() -> None:
    with pytest.raises(KeyError):
        with_figures("<!-- figures: nonsense -->\n<!-- /figures -->\n", Results({}, {}))


def test_goals_are_judged_against_the_best_peer_of_the_run() -> None:
    rates = {
        "bare Celery hop, prefork x 2": 500.0,
        "DBOS, 2 processes, queue": 400.0,
        "LangGraph, 2 processes": 600.0,
        "this release, PostgreSQL, 1 step(s) per task, solo x 2": 700.0,
    }
    run = {"throughput": {row: {"median": rate, "all": [rate]} for row, rate in rates.items()}}
    found = {goal.text: (value, reached) for goal, value, reached in judged(run) if value is not None}
    assert found == {
        "one StepPlan per task, PostgreSQL: ≥ 1.0 of bare Celery's hops, prefork x 2": (1.4, True),
        "... ≥ 1.2 of the best peer on PostgreSQL": (pytest.approx(7 / 6), False),
    }
