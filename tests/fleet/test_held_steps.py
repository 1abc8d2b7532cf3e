"""A tick of several steps writes them together, and nobody can tell from the run or its ledger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from abstractruntime.app import App
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.storage.checkpoints import Write, Written

from .bench import Bench

Node = Callable[[RunState, RunContext], StepPlan]


def says(node_id: str, text: str, then: str | None) -> Node:
    effect = Effect(EffectType.ANSWER_USER, {"message": text}, "said")
    return lambda run, ctx: StepPlan(node_id, effect, then)


def goes(node_id: str, then: str) -> Node:
    return lambda run, ctx: StepPlan(node_id, next_node=then)


def ends(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("end", complete_output={"seen": run.vars.get("seen", [])})


def bench_of(max_steps: int, handlers: dict[EffectType, Any] | None = None, **nodes: Node) -> Bench:
    workflow = WorkflowSpec("w", next(iter(nodes)), {**nodes, "end": ends})
    app = App(workflows=[workflow], effect_handlers=handlers or {})
    return Bench(app, tick_max_steps=max_steps)


def story(bench: Bench, run_id: str) -> list[tuple[str, str, str]]:
    """The ledger without ids and times."""
    return [
        (str(entry.record["node_id"]), str(entry.record["status"]), str(entry.record["result"]))
        for entry in bench.store.ledger(run_id)
    ]


def writes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Write]:
    """Every single-run write from now on."""
    seen: list[Write] = []
    commit = bench.store.commit

    def noted(write: Write) -> Written:
        seen.append(write)
        return commit(write)

    monkeypatch.setattr(bench.store, "commit", noted)
    return seen


MIXED: dict[str, Node] = {
    "a": says("a", "one", "b"),
    "b": goes("b", "c"),
    "c": says("c", "two", "d"),
    "d": lambda run, ctx: StepPlan("d", Effect(EffectType.LLM_CALL, {"prompt": "?"}, "answer"), "e"),
    "e": says("e", "three", "end"),
}


def answer(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.completed({"content": "!"})


@pytest.mark.parametrize("max_steps", [1, 2, 3, 25])
def test_ledger_and_output_do_not_depend_on_steps_per_tick(max_steps: int) -> None:
    alone, together = (bench_of(n, {EffectType.LLM_CALL: answer}, **MIXED) for n in (1, max_steps))
    stories, runs = [], []
    for bench in (alone, together):
        run_id = bench.start("w")
        bench.drain()
        stories.append(story(bench, run_id))
        runs.append(bench.run(run_id))
        assert [entry.seq for entry in bench.store.ledger(run_id)] == [*range(1, len(stories[-1]) + 1)]
    assert stories[0] == stories[1]
    assert runs[0].status is runs[1].status is RunStatus.COMPLETED
    assert runs[0].vars["answer"] == runs[1].vars["answer"] == {"content": "!"}


def test_steps_up_to_the_one_that_cannot_wait_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(25, {EffectType.LLM_CALL: answer}, **MIXED)
    seen = writes(bench, monkeypatch)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert len(seen) == 1  # a, b, c and the request for the effect of d
    assert bench.checkpoint(run_id).version == 2
    assert [node for node, _, _ in story(bench, run_id)] == ["a", "a", "c", "c"]


def test_a_step_that_takes_its_time_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("workers.held_steps.monotonic", lambda: clock[0])

    def slow(run: RunState, ctx: RunContext) -> StepPlan:
        clock[0] += 0.015
        return StepPlan("a", next_node="a")

    bench = bench_of(9, a=slow)
    seen = writes(bench, monkeypatch)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert len(seen) == 3  # 9 steps of 15 ms; those that begin within 20 ms of the last write are held


def test_a_node_that_raises_loses_no_step_before_it() -> None:
    tries: list[int] = []

    def raises(run: RunState, ctx: RunContext) -> StepPlan:
        tries.append(run.vars.setdefault("n", 0))
        run.vars["n"] = 99  # dirt of a step that failed
        raise ValueError("no luck")

    bench = bench_of(9, a=says("a", "one", "b"), b=raises)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    run = bench.run(run_id)
    assert (run.current_node, run.status, "n" in run.vars) == ("b", RunStatus.RUNNING, False)
    assert [(node, status) for node, status, _ in story(bench, run_id)] == [
        ("a", "started"),
        ("a", "completed"),
        ("b", "failed"),
    ]
    assert tries == [0, 0]  # once to find out, once by itself


def test_what_cannot_be_stored_is_the_fault_of_its_own_node() -> None:
    def dirties(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["bad"] = object()
        return StepPlan("b", next_node="end")

    bench = bench_of(9, a=says("a", "one", "b"), b=dirties)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.run(run_id).current_node == "b"
    assert story(bench, run_id)[-1][:2] == ("b", "failed")


def test_the_same_effect_twice_in_a_tick_is_taken_from_the_ledger() -> None:
    def loop(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        effect = Effect(EffectType.ANSWER_USER, {"message": "same"}, "said")
        return StepPlan("a", effect, "end" if run.vars["n"] == 4 else "a")

    bench = bench_of(9, a=loop)
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).vars["n"] == 4
    assert [(node, status) for node, status, _ in story(bench, run_id)][:3] == [
        ("a", "started"),
        ("a", "completed"),
        ("end", "completed"),
    ]


def test_a_control_command_between_steps_stops_all_that_is_held() -> None:
    bench: Bench

    def meddled_with(run: RunState, ctx: RunContext) -> StepPlan:
        before = bench.checkpoint(run.run_id)
        assert bench.store.commit(Write(before, before.run)) is Written.OK  # somebody else moves the run
        return StepPlan("b", next_node="end")

    bench = bench_of(9, a=says("a", "one", "b"), b=meddled_with)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.checkpoint(run_id).version == 2
    assert (bench.run(run_id).current_node, story(bench, run_id)) == ("a", [])


def test_a_step_that_was_sent_again_is_taken_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_of(9, a=goes("a", "b"), b=goes("b", "c"), c=goes("c", "end"))
    run_id = bench.start("w")
    bench.lose_messages()
    seen = writes(bench, monkeypatch)
    bench.pass_time(60)
    assert bench.run(run_id).status is RunStatus.COMPLETED
    assert len(seen) > 3  # the count of the attempt, then each step


def test_a_node_sees_the_traces_of_steps_that_are_held() -> None:
    def look(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["seen"] = sorted(run.vars["_runtime"]["node_traces"])
        return StepPlan("b", next_node="end")

    bench = bench_of(9, a=says("a", "one", "b"), b=look)
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).output == {"seen": ["a"]}


def test_a_held_step_whose_result_the_ledger_has_takes_it_from_there() -> None:
    """Found by the simulation: its tick was never acknowledged, and again in vain for ever."""

    def twice(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["seen"] = [*run.vars.get("seen", []), "a"]
        then = "asks" if len(run.vars["seen"]) == 1 else "end"
        return StepPlan("a", Effect(EffectType.ANSWER_USER, {"message": "one"}, "said"), then)

    def asks(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("asks", Effect(EffectType.LLM_CALL, {"prompt": "?"}, "answer"), "a")

    bench = bench_of(25, {EffectType.LLM_CALL: answer}, a=twice, asks=asks)
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).status is RunStatus.COMPLETED
    assert bench.run(run_id).output == {"seen": ["a", "a"]}
    told = [node for node, status, _ in story(bench, run_id) if status == "completed"]
    assert told.count("a") == 1


@pytest.mark.parametrize("takes_s", [0.0, 2.0])
def test_what_cannot_be_stored_fails_its_node_also_when_the_step_is_held(
    monkeypatch: pytest.MonkeyPatch, takes_s: float
) -> None:
    """Found by the simulation: a tick that was over then ended with the error instead."""
    clock = [0.0]
    monkeypatch.setattr("workers.held_steps.monotonic", lambda: clock[0])

    def litters(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["rubbish"] = {1, 2}
        clock[0] += takes_s
        return StepPlan("b", next_node="c")

    bench = bench_of(25, a=goes("a", "b"), b=litters, c=goes("c", "end"))
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    bench.drain()
    found = [str(entry.record["error"]) for entry in bench.store.ledger(run_id)]
    assert any("Node 'b' raised TypeError" in error for error in found)
