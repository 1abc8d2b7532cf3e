"""The plan is decided by its seed alone."""

from __future__ import annotations

from collections import Counter

import pytest

from abstractruntime.cli.chaos.flows import app
from abstractruntime.cli.chaos.kinds import Kind, possible_kinds, wanted_kinds
from abstractruntime.cli.chaos.plan import Plan, make_plan
from abstractruntime.cli.chaos.schedule import Crew
from abstractruntime.cli.chaos.scripts import Verb
from abstractruntime.core.errors import InvalidInputError

ALL = tuple(Kind)


def plan(seed: int, *, kinds: tuple[Kind, ...] = ALL, runs: int = 600) -> Plan:
    return make_plan(seed, runs=runs, seconds=180.0, kinds=kinds, crew=Crew(), lease_s=3.0)


def test_the_same_seed_gives_the_same_plan() -> None:
    assert plan(7) == plan(7)
    assert plan(7).runs != plan(8).runs
    assert plan(7).faults != plan(8).faults


def test_faults_and_workload_do_not_depend_on_each_other() -> None:
    assert plan(7, kinds=(Kind.KILL_TICKS,)).runs == plan(7).runs
    assert plan(7, runs=10).faults == plan(7).faults
    assert plan(7, kinds=()).faults == ()


@pytest.mark.parametrize("seed", range(20))
def test_every_kind_of_fault_comes_and_some_hit_the_recovery_of_another(seed: int) -> None:
    made = plan(seed)
    assert {fault.kind for fault in made.faults} == set(Kind)
    gaps = [later.at_s - sooner.at_s for sooner, later in zip(made.faults, made.faults[1:], strict=False)]
    assert min(gaps) > 0
    assert sum(gap < 1.5 for gap in gaps) >= 3
    assert all(fault.at_s < 180.0 for fault in made.faults)
    for fault in made.faults:
        assert bool(fault.target) == bool(Crew().names(fault.kind))
        assert (fault.kind is Kind.KILL_AT_POINT) == bool(fault.rule)


def test_the_mix_has_everything() -> None:
    made = plan(7)
    assert {run.workflow_id for run in made.runs} == set(app.workflow_ids())
    verbs = Counter(act.verb for run in made.runs for act in (*run.script, *run.meddling))
    assert set(verbs) == set(Verb)
    assert len({run.run_id for run in made.runs}) == len(made.runs)
    assert any(run.ending.status == "waiting" for run in made.runs)


def test_a_run_that_tells_comes_after_the_one_that_hears() -> None:
    runs = plan(7).runs
    by_id = {run.run_id: run for run in runs}
    for run in runs:
        if run.workflow_id == "tell":
            assert run.after is not None
            assert by_id[run.after].session_id == run.session_id


def test_acts_of_one_actor_are_in_order_of_time() -> None:
    for run in plan(7).runs:
        for acts in (run.script, run.meddling):
            times = [run.start_at_s, *(act.at_s for act in acts)]
            assert times == sorted(times)


def test_faults_are_chosen_by_name_or_beginning() -> None:
    assert wanted_kinds("all", ALL) == ALL
    assert wanted_kinds("none", ALL) == ()
    assert wanted_kinds("broker, kill-beat", ALL) == (
        Kind.KILL_BEAT,
        Kind.BROKER_FLUSH,
        Kind.BROKER_CUT,
        Kind.BROKER_RESTART,
        Kind.BROKER_AWAY,
    )
    sqlite = possible_kinds(sqlite=True, own_broker=True, own_database=True)
    with pytest.raises(InvalidInputError, match=r"no fault 'database-restart' is possible here.*kill-ticks"):
        wanted_kinds("database-restart", sqlite)


def test_servers_of_others_are_not_stopped() -> None:
    others = possible_kinds(sqlite=False, own_broker=False, own_database=False)
    assert not {Kind.BROKER_AWAY, Kind.BROKER_RESTART, Kind.DATABASE_RESTART} & set(others)
    assert Kind.BROKER_FLUSH in others
