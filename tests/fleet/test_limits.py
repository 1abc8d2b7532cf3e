"""Limits of effects and starts: never more than allowed, nobody forgotten, the next one called at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime import App, Effect, EffectType, Limit, Rate, RunStatus, StepPlan, WorkflowSpec
from abstractruntime.core.errors import AppError, InvalidInputError
from abstractruntime.core.models import RunState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.storage.checkpoints import ADMITTED, QUEUED, Task
from tests.fleet.bench import Bench
from workers.control import Control
from workers.hints import Hint
from workers.limiter import JITTER, Limiter
from workers.start import requested_run

BY_PROVIDER = {"key": lambda run, effect: effect.payload.get("provider")}


class Killed(BaseException):
    """The worker is gone."""


def _ask(run: RunState, ctx: object) -> StepPlan:
    payload = {"provider": run.vars.get("provider", "openai")}
    return StepPlan("ask", Effect(EffectType.LLM_CALL, payload, "answer"), "done")


def _done(run: RunState, ctx: object) -> StepPlan:
    return StepPlan("done", complete_output={})


def _listen(run: RunState, ctx: object) -> StepPlan:
    return StepPlan("listen", Effect(EffectType.WAIT_EVENT, {"wait_key": run.vars["key"]}), "done")


def _break(run: RunState, ctx: object) -> StepPlan:
    if run.vars.get("breaks"):
        return StepPlan("break", Effect(EffectType.TOOL_CALLS, {}), "done")
    return StepPlan("break", Effect(EffectType.WAIT_EVENT, {"wait_key": "go"}), "done")


ASK = WorkflowSpec("ask", "ask", {"ask": _ask, "done": _done})
LISTEN = WorkflowSpec("listen", "listen", {"listen": _listen, "done": _done})
BREAK = WorkflowSpec("break", "break", {"break": _break, "done": _done})


class Floor:
    """Calls in flight: each handler lets all others act before it returns."""

    def __init__(self, *limits: Limit, quick: bool = False) -> None:
        self.active: list[str] = []
        self.most = 0
        self.order: list[str] = []
        self.act: Callable[[], None] = lambda: self.bench.drain()
        app = App(workflows=[ASK, LISTEN])
        app.effect(EffectType.LLM_CALL, limits=limits, quick=quick)(self.call)
        self.bench = Bench(app)

    def call(self, run: RunState, effect: Effect) -> EffectOutcome:
        name = run.vars.get("name", run.run_id)
        self.order.append(name)
        self.active.append(name)
        self.most = max(self.most, len(self.active))
        try:
            self.act()
        finally:
            self.active.remove(name)
        return EffectOutcome.completed({})

    def start(self, count: int = 1, **vars: Any) -> list[str]:
        return [self.bench.start("ask", dict(vars)) for _ in range(count)]

    def status(self, run_ids: list[str]) -> set[RunStatus]:
        return {self.bench.run(run_id).status for run_id in run_ids}


@pytest.mark.parametrize("quick", [False, True])
def test_no_more_effects_at_once_than_their_limit(quick: bool) -> None:
    floor = Floor(Limit("provider", concurrency=2, **BY_PROVIDER), quick=quick)
    runs = floor.start(9)
    floor.bench.drain()
    assert floor.most == 2
    assert len(floor.order) == 9
    assert floor.status(runs) == {RunStatus.COMPLETED}  # without any time passing: slots are handed over


def test_each_key_has_slots_of_its_own() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    floor.start(2, provider="openai")
    floor.start(2, provider="other")
    floor.start(3, provider=None)  # not limited
    floor.bench.drain()
    assert floor.most == 5


def test_a_step_without_a_slot_waits_visibly_and_holds_nobody_up() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    first, second = floor.start(2)
    seen: list[Any] = []

    def look() -> None:
        floor.bench.drain()
        checkpoint = floor.bench.checkpoint(second)
        seen.append((checkpoint.hold_reason, checkpoint.wake_at, checkpoint.lease_until, checkpoint.task))
        floor.act = lambda: None

    floor.act = look
    floor.bench.drain()
    reason, wake_at, lease_until, task = seen[0]
    assert reason == "waits for limit 'provider' for 'openai': 1 of 1 slots in use"
    assert floor.bench.time + 30.0 <= wake_at <= floor.bench.time + 40.0  # the lease's end, spread
    assert (lease_until, task) == (None, Task.EFFECT)
    assert floor.status([first, second]) == {RunStatus.COMPLETED}
    assert floor.bench.checkpoint(second).hold_reason is None


def test_a_killed_worker_frees_its_slot_when_its_lease_ends() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    dead, *others = floor.start(4)

    def die() -> None:
        floor.act = lambda: None
        raise Killed

    floor.act = die
    with pytest.raises(Killed):
        floor.bench.drain()
    floor.bench.drain()
    assert floor.order == [dead]
    assert floor.status(others) == {RunStatus.RUNNING}
    floor.bench.pass_time(29.0)
    assert floor.order == [dead]
    floor.bench.pass_time(2.0)
    floor.bench.pass_time(10.0)
    assert floor.status([dead, *others]) == {RunStatus.COMPLETED}
    assert floor.most == 1


def test_a_lost_call_is_repaired() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    runs = floor.start(3)

    def lose() -> None:
        floor.bench.drain()
        floor.act = lambda: None

    floor.act = lose
    engine = floor.bench.deployment.engine
    for run_id in runs:
        engine.tick(run_id, 1)
    floor.bench.lose_messages()
    engine.effect(runs[0], 2)
    engine.effect(runs[1], 2)  # takes the free slot or waits; either way its hints are lost
    floor.bench.lose_messages()
    for _ in range(12):
        floor.bench.pass_time(10.0)
    assert floor.status(runs) == {RunStatus.COMPLETED}


def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    floor.start(name="first")
    floor.start(name="second")

    def act() -> None:
        floor.bench.drain()
        if floor.active == ["first"]:
            floor.act = lambda: None
            floor.bench.time += 1.0
            floor.start(name="newcomer")
            floor.bench._queue.reverse()

    floor.act = act
    floor.bench.drain()
    assert floor.order == ["first", "second", "newcomer"]


def test_a_higher_priority_is_served_first_and_age_makes_up_for_it() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    bench = floor.bench
    floor.start(name="first")

    def act() -> None:
        floor.act = lambda: None
        for name, priority, pause in (("old", 0, 130.0), ("plain", 0, 5.0), ("urgent", 2, 0.0)):
            # The first one's worker is alive all the time.
            held = next(row for row in bench.store._tables.runs.values() if row.lease_until)
            bench.store.extend_lease(held.summary.run_id, held.summary.version, 1000.0)
            bench.start("ask", {"name": name}, priority=priority)
            bench.drain()
            bench.time += pause

    floor.act = act
    bench.drain()
    assert floor.order == ["first", "old", "urgent", "plain"]


def test_all_limits_must_agree() -> None:
    floor = Floor(
        Limit("provider", concurrency=3, **BY_PROVIDER),
        Limit("all", concurrency=4),
    )
    runs = floor.start(5, provider="a") + floor.start(5, provider="b")
    floor.bench.drain()
    assert floor.most == 4
    assert floor.status(runs) == {RunStatus.COMPLETED}


def test_a_rate_lets_so_many_begin_in_any_window() -> None:
    floor = Floor(Limit("provider", rate=Rate(3, per_s=60.0), **BY_PROVIDER))
    runs = floor.start(8)
    floor.bench.drain()
    assert len(floor.order) == 3
    held = [
        floor.bench.checkpoint(run_id)
        for run_id in runs
        if floor.bench.run(run_id).vars.get("answer") is None
    ]
    assert {checkpoint.hold_reason for checkpoint in held} == {
        "waits for limit 'provider' for 'openai': 3 per 60 s are used up"
    }
    counts = []
    for _ in range(20):
        floor.bench.pass_time(10.0)
        counts.append(len(floor.order))
    assert max(later - earlier for earlier, later in zip(counts, counts[5:], strict=False)) <= 3
    assert counts[-1] == 8
    assert counts[8] >= 6  # the second window is used as soon as it opens, give or take a sweep


def test_a_rate_is_met_to_the_moment_by_hints_with_a_delay() -> None:
    floor = Floor(Limit("provider", rate=Rate(1, per_s=10.0)))
    for _ in range(3):
        floor.start()
        floor.bench.drain()
        floor.bench.time += 0.0001
    hints = [message for message in floor.bench.sent if isinstance(message, Hint) and message.delay_s > 0]
    assert sorted(round(hint.delay_s, 3) for hint in hints) == [10.0, 20.0]


def test_a_key_that_can_not_be_told_fails_the_effect() -> None:
    for key in (lambda run, effect: effect.payload["nothing"], lambda run, effect: 1.5):
        floor = Floor(Limit("provider", key=key, concurrency=1))  # type: ignore[arg-type]
        (run_id,) = floor.start()
        floor.bench.drain()
        run = floor.bench.run(run_id)
        assert run.status is RunStatus.FAILED
        assert "key could not be told" in (run.error or "")
        assert floor.order == []


def test_a_cancelled_waiter_leaves_the_line() -> None:
    floor = Floor(Limit("provider", concurrency=1, **BY_PROVIDER))
    first, second, third = floor.start(3)

    def act() -> None:
        floor.bench.drain()
        if floor.active == [first]:
            Control(floor.bench.deployment.commits).cancel(second, None)

    floor.act = act
    floor.bench.drain()
    assert floor.order == [first, third]
    assert floor.bench.run(second).status is RunStatus.CANCELLED


def test_runs_without_limits_never_meet_the_limiter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("claim", "admit", "hand_over"):
        monkeypatch.setattr(Limiter, name, None)
    floor = Floor()
    runs = floor.start(2)
    floor.bench.drain()
    assert floor.status(runs) == {RunStatus.COMPLETED}


# -- starts ----------------------------------------------------------------------------------------


def _starts(**limit: Any) -> Bench:
    app = App(workflows=[LISTEN, BREAK])
    app.limit_starts("listen", **limit)
    app.limit_starts("break", concurrency=1)

    @app.effect(EffectType.TOOL_CALLS)
    def fail(run: RunState, effect: Effect) -> EffectOutcome:
        return EffectOutcome.failed("no")

    return Bench(app)


def _emit(bench: Bench, key: str) -> None:
    commits = bench.deployment.commits
    with commits.batch() as batch:
        commits.emit(batch, commits.new_event(key, {}))
    bench.drain()


def _begun(bench: Bench, runs: list[str]) -> list[int]:
    return [n for n, run_id in enumerate(runs) if bench.run(run_id).status is not RunStatus.RUNNING]


def test_no_more_runs_are_active_than_their_limit() -> None:
    bench = _starts(concurrency=2)
    runs = []
    for n in range(5):
        runs.append(bench.start("listen", {"key": f"k{n}"}))
        bench.time += 0.001
    bench.drain()
    assert _begun(bench, runs) == [0, 1]
    third = bench.checkpoint(runs[2])
    assert third.hold_reason == "waits for starts of 'listen': 2 of 2 slots in use"
    assert (third.admission, third.version) == (QUEUED, 1)
    _emit(bench, "k1")
    assert _begun(bench, runs) == [0, 1, 2]  # one has ended: the next one begins at once
    assert bench.checkpoint(runs[2]).admission == ADMITTED
    for key in ("k0", "k2", "k3", "k4"):
        _emit(bench, key)
    assert {bench.run(run_id).status for run_id in runs} == {RunStatus.COMPLETED}


def test_runs_that_wait_need_not_count() -> None:
    bench = _starts(concurrency=1, counts_waiting=False)
    runs = [bench.start("listen", {"key": "k"}) for _ in range(4)]
    bench.drain()
    assert _begun(bench, runs) == [0, 1, 2, 3]  # each made room when it began to wait


def test_starts_have_keys_and_rates() -> None:
    bench = _starts(key=lambda run: run.session_id, rate=Rate(1, per_s=60.0))
    runs = [bench.start("listen", {"key": "k"}, session_id=session) for session in ("a", "a", "b")]
    bench.drain()
    assert _begun(bench, runs) == [0, 2]
    bench.pass_time(30.0)
    assert _begun(bench, runs) == [0, 2]
    bench.pass_time(31.0)
    bench.pass_time(60.0 * JITTER)  # how late it looks again depends on its id
    assert _begun(bench, runs) == [0, 1, 2]


def test_a_cancelled_run_makes_room() -> None:
    bench = _starts(concurrency=1)
    runs = [bench.start("listen", {"key": "k"}) for _ in range(3)]
    bench.drain()
    control = Control(bench.deployment.commits)
    control.cancel(runs[1], None)
    control.cancel(runs[0], None)
    bench.drain()
    assert bench.run(runs[2]).status is RunStatus.WAITING


def test_a_paused_run_does_not_hold_up_the_line() -> None:
    bench = _starts(concurrency=1)
    runs = [bench.start("listen", {"key": "k"}) for _ in range(3)]
    bench.drain()
    control = Control(bench.deployment.commits)
    control.pause(runs[1], None)
    control.cancel(runs[0], None)
    bench.drain()
    assert _begun(bench, runs) == [0, 1, 2]
    control.unpause(runs[1])
    bench.drain()
    assert bench.checkpoint(runs[1]).admission == QUEUED
    control.cancel(runs[2], None)
    bench.drain()
    assert bench.checkpoint(runs[1]).admission == ADMITTED


def test_a_retried_run_is_admitted_again() -> None:
    bench = _starts(concurrency=1)
    failing = bench.start("break", {"breaks": True})
    other = bench.start("break")
    bench.drain()
    assert bench.run(failing).status is RunStatus.FAILED
    assert bench.run(other).status is RunStatus.WAITING
    Control(bench.deployment.commits).retry(failing)
    bench.drain()
    assert bench.checkpoint(failing).admission == QUEUED
    assert bench.checkpoint(failing).hold_reason is not None
    _emit(bench, "go")
    assert bench.run(other).status is RunStatus.COMPLETED
    assert bench.checkpoint(failing).admission == ADMITTED


def test_children_are_not_limited() -> None:
    def parent(run: RunState, ctx: object) -> StepPlan:
        return StepPlan(
            "parent", Effect(EffectType.START_SUBWORKFLOW, {"workflow_id": "family"}, "child"), "done"
        )

    def node(run: RunState, ctx: object) -> StepPlan:
        return _done(run, ctx) if run.parent_run_id else parent(run, ctx)

    app = App(workflows=[WorkflowSpec("family", "parent", {"parent": node, "done": _done})])
    app.limit_starts("family", concurrency=1)
    bench = Bench(app)
    run_id = bench.start("family", priority=3)
    bench.drain()
    assert bench.run(run_id).status is RunStatus.COMPLETED
    children = [row for row in bench.store._tables.runs.values() if row.summary.parent_run_id]
    assert [row.priority for row in children] == [3]


# -- back-pressure ---------------------------------------------------------------------------------


def test_a_full_queue_is_fed_by_the_sweep_in_order_of_urgency() -> None:
    bench = _starts(concurrency=100)
    bench.deployment.commits.publish([])
    bench.full = {Task.TICK, Task.EFFECT}
    runs = [bench.start("listen", {"key": "k"}, priority=n) for n in (0, 1, 2)]
    assert bench.sent == []
    bench.pass_time(1.0)
    assert bench.sent == []
    assert {bench.checkpoint(run_id).redeliveries for run_id in runs} == {-1}
    bench.full = {Task.EFFECT}
    bench.pass_time(1.0)
    assert [hint.run_id for hint in bench.sent if isinstance(hint, Hint)][:3] == runs[::-1]
    assert {bench.checkpoint(run_id).attempts for run_id in runs} == {0}  # it was their first hint
    assert _begun(bench, runs) == [0, 1, 2]


# -- declarations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rate(0), "count must be an integer from 1"),
        (lambda: Rate(1, per_s=0), "per_s must be a number of seconds above 0"),
        (lambda: Rate(1, per_s=float("nan")), "per_s must be"),
        (lambda: Limit("x"), "give concurrency="),
        (lambda: Limit("", concurrency=1), "the name must be"),
        (lambda: Limit("x", concurrency=0), "concurrency must be an integer"),
        (lambda: Limit("x", concurrency=True), "concurrency must be an integer"),
        (lambda: Limit("x", key="provider", concurrency=1), "key must be a function"),  # type: ignore[arg-type]
        (lambda: Limit("x", rate=5), "rate must be a Rate"),  # type: ignore[arg-type]
        (lambda: App().limit_starts("nothing", concurrency=1), "which is not declared"),
        (lambda: App(workflows=[ASK]).limit_starts("ask"), "give concurrency="),
        (lambda: App().effect(EffectType.LLM_CALL, limits=["x"]), "must be Limit objects"),  # type: ignore[list-item]
        (
            lambda: App().effect(EffectType.LLM_CALL, limits=[Limit("x", concurrency=1)] * 2),
            "two have the same name",
        ),
    ],
)
def test_a_wrong_declaration_says_what_is_wrong(make: Callable[[], object], message: str) -> None:
    with pytest.raises(AppError, match=message):
        make()


def test_starts_are_limited_once() -> None:
    app = App(workflows=[ASK])
    app.limit_starts("ask", concurrency=1)
    with pytest.raises(AppError, match="limited twice"):
        app.limit_starts("ask", concurrency=2)


@pytest.mark.parametrize("priority", [10, -10, True, 1.5, "high"])
def test_a_priority_is_a_small_integer(priority: Any) -> None:
    with pytest.raises(InvalidInputError, match="priority must be"):
        requested_run(
            App(workflows=[ASK]),
            "ask",
            None,
            run_id=None,
            session_id=None,
            actor_id=None,
            max_bytes=1000,
            priority=priority,
        )


def test_a_long_key_is_kept_short() -> None:
    limit = Limit("x", key=lambda run, effect: "k" * 10_000, concurrency=1)
    run = RunState("r", "w", RunStatus.RUNNING, "n", {})
    demand = limit.demand(run, Effect(EffectType.LLM_CALL, {}))
    assert demand is not None
    assert len(demand.key) < 300
