"""Checkpoints that a worker still has in memory: what it spares, and that a stale one does no harm."""

from __future__ import annotations

import pytest

from abstractruntime.app import App
from abstractruntime.core.control import cancelled
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.checkpoints import Checkpoint, Task
from workers import recent
from workers.clock import StepClock
from workers.recent import RecentCheckpoints

from .bench import Bench


def count(run: RunState, ctx: RunContext) -> StepPlan:
    run.vars["n"] = run.vars.get("n", 0) + 1
    if run.vars["n"] == 3:
        return StepPlan("count", Effect(EffectType.TOOL_CALLS, {"tool_calls": []}, "called"), "count")
    return StepPlan("count", next_node="count")


class Loads(Bench):
    """Counts what is loaded."""

    def __init__(self, **settings: object) -> None:
        app = App(workflows=[WorkflowSpec("w", "count", {"count": count})])
        self.calls: list[str] = []

        @app.effect(EffectType.TOOL_CALLS, quick=True)
        def outside(run: RunState, effect: Effect) -> EffectOutcome:
            self.calls.append(run.run_id)
            return EffectOutcome.completed({})

        super().__init__(app, **settings)
        self.loaded: list[str] = []
        load = self.store.load

        def counting(run_id: str) -> Checkpoint | None:
            self.loaded.append(run_id)
            return load(run_id)

        self.store.load = counting  # type: ignore[method-assign]

    def tick(self, run_id: str, version: int, *, first: bool = True) -> None:
        self.deployment.engine.tick(run_id, version, first=first)

    def stored(self, run_id: str) -> Checkpoint:
        found = self.checkpoint(run_id)
        self.loaded.clear()
        return found


def test_the_hint_of_an_own_commit_loads_nothing() -> None:
    bench = Loads()
    run_id = bench.start("w")
    bench.tick(run_id, 1)
    assert bench.loaded == [run_id]
    bench.tick(run_id, 2)
    assert bench.loaded == [run_id]
    assert bench.stored(run_id).run.vars["n"] == 2


@pytest.mark.parametrize(("version", "first"), [(2, False), (1, True), (3, True)])
def test_any_other_hint_has_the_run_loaded(version: int, first: bool) -> None:
    """One of a sweep (which counts attempts), of an older version, of one that others wrote."""
    bench = Loads()
    run_id = bench.start("w")
    bench.tick(run_id, 1)
    bench.loaded.clear()
    bench.tick(run_id, version, first=first)
    assert bench.loaded == [run_id]


def test_it_is_given_once() -> None:
    bench = Loads()
    run_id = bench.start("w")
    bench.tick(run_id, 1)
    bench.tick(run_id, 2)
    bench.loaded.clear()
    bench.tick(run_id, 2)
    assert bench.loaded == [run_id]  # and is found to be stale
    assert bench.stored(run_id).version == 3


def test_a_stale_copy_commits_nothing_and_starts_no_effect() -> None:
    bench = Loads()
    run_id = bench.start("w")
    for version in (1, 2):
        bench.tick(run_id, version)
    before = bench.stored(run_id)
    commits = bench.deployment.commits
    with commits.batch() as batch:
        change = cancelled(before.run, batch.env)
        assert change is not None
        commits.write_control(batch, before, change)
    bench.loaded.clear()
    bench.tick(run_id, 3)  # the node asks for its effect
    assert bench.loaded == []
    assert bench.calls == []
    after = bench.stored(run_id)
    assert (after.version, after.run.status) == (4, RunStatus.CANCELLED)


def test_what_a_node_holds_on_to_is_not_what_the_next_step_sees() -> None:
    held: list[dict[str, object]] = []

    def node(run: RunState, ctx: RunContext) -> StepPlan:
        for vars in held:
            vars["n"] = -1
        held.append(run.vars)
        run.vars["n"] = run.vars.get("n", 0) + 1
        return StepPlan("node", next_node="node")

    bench = Bench(App(workflows=[WorkflowSpec("w", "node", {"node": node})]))
    run_id = bench.start("w")
    for version in (1, 2, 3):
        bench.deployment.engine.tick(run_id, version, first=True)
    assert bench.run(run_id).vars["n"] == 3


def a_checkpoint(run_id: str = "r", **fields: object) -> Checkpoint:
    run = RunState(run_id, "w", RunStatus.RUNNING, "node", vars={})
    return Checkpoint(run, 2, **{"now": 100.0, **fields})  # type: ignore[arg-type]


TEXT = '{"run_id": "r", "workflow_id": "w", "status": "running", "current_node": "node", "vars": {"n": 1}}'


@pytest.mark.parametrize(
    "fields",
    [
        {"due_at": 1.0},
        {"lease_until": 1.0},
        {"admission": "admitted"},
        {"task": Task.EFFECT},
        {"attempts": 1},
    ],
)
def test_only_plain_checkpoints_are_kept(fields: dict[str, object]) -> None:
    kept = RecentCheckpoints()
    kept.keep(a_checkpoint(**fields), TEXT, StepClock(100.0))
    assert kept.take("r", 2) is None


def test_a_later_commit_that_is_not_kept_removes_the_earlier() -> None:
    kept = RecentCheckpoints()
    kept.keep(a_checkpoint(), TEXT, StepClock(100.0))
    kept.keep(a_checkpoint(due_at=1.0), TEXT, StepClock(100.0))
    assert kept.take("r", 2) is None


def test_nothing_is_believed_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "KEEP_S", -1.0)
    kept = RecentCheckpoints()
    kept.keep(a_checkpoint(), TEXT, StepClock(100.0))
    assert kept.take("r", 2) is None


def test_memory_is_bounded_by_number_and_by_size() -> None:
    kept = RecentCheckpoints(limit=3, size=4 * len(TEXT))
    for name in "abcd":
        kept.keep(a_checkpoint(name), TEXT, StepClock(100.0))
    assert [name for name in "abcd" if kept.take(name, 2)] == ["b", "c", "d"]
    small = RecentCheckpoints(limit=9, size=2 * len(TEXT))
    for name in "abcd":
        small.keep(a_checkpoint(name), TEXT, StepClock(100.0))
    assert [name for name in "abcd" if small.take(name, 2)] == ["c", "d"]
    small.keep(a_checkpoint(), " " * recent.LARGEST + TEXT, StepClock(100.0))
    assert small.take("r", 2) is None


def test_a_copy_is_given_once() -> None:
    """The same hint a second time must see what the store has."""
    kept = RecentCheckpoints()
    kept.keep(a_checkpoint(), TEXT, StepClock(100.0))
    taken = kept.take("r", 2)
    assert taken is not None
    assert (taken.version, taken.run.vars) == (2, {"n": 1})
    assert kept.take("r", 2) is None
