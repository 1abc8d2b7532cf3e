"""The engine's rules for nodes and effects, one by one, over a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from abstractruntime.app import App, NodeRetry
from abstractruntime.core.effect_context import current_effect
from abstractruntime.core.errors import FailRun, ServiceUnavailableError
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy
from abstractruntime.core.spec import RunContext, WorkflowSpec
from abstractruntime.core.traces import derive_traces
from abstractruntime.storage.checkpoints import Task, Write, Written
from workers.hints import Announcement, Hint

from .bench import Bench

Node = Callable[[RunState, RunContext], StepPlan]
TERMINAL = [("completed", None), ("completed", "emit_event")]


def one_node(node: Node, **app: object) -> Bench:
    def done(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("done", complete_output={"result": run.vars.get("result")})

    workflow = WorkflowSpec("w", "node", {"node": node, "done": done})
    return Bench(App(workflows=[workflow], **app))  # type: ignore[arg-type]


def call(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("node", Effect(EffectType.TOOL_CALLS, {"tool_calls": []}, "result"), "done")


def test_a_pure_transition_leaves_no_record_and_a_completion_leaves_two() -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="done"))
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).status is RunStatus.COMPLETED
    assert bench.records(run_id) == TERMINAL
    assert bench.sent[-1] == Announcement(run_id)


def test_one_tick_is_one_step() -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="done"))
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.run(run_id).current_node == "done"
    assert bench.sent[-1] == Hint(bench.checkpoint(run_id).task, run_id, 2, "done", "w")


def test_a_tick_may_take_more_steps_while_its_run_is_runnable() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        return StepPlan("node", next_node="done" if run.vars["n"] == 4 else "node")

    workflow = WorkflowSpec(
        "w", "node", {"node": node, "done": lambda run, ctx: StepPlan("done", complete_output={})}
    )
    bench = Bench(App(workflows=[workflow]), tick_max_steps=3)
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.run(run_id).vars["n"] == 3
    assert [message for message in bench.sent[1:] if isinstance(message, Hint)] == [
        Hint(Task.TICK, run_id, 2, "node", "w")  # all three were one write
    ]


@pytest.mark.parametrize("version", [0, 2, 99])
def test_a_tick_of_another_version_changes_nothing(version: int) -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="done"))
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, version)
    assert bench.checkpoint(run_id).version == 1


def test_a_node_that_raises_is_tried_again_later_and_then_parked_as_failed() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["dirt"] = True
        raise ValueError("no luck")

    bench = one_node(node, node_retry=NodeRetry(max_attempts=3, backoff_s=1.0))
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).status is RunStatus.RUNNING
    assert bench.checkpoint(run_id).attempts == 1
    bench.deployment.engine.tick(run_id, bench.checkpoint(run_id).version)
    assert bench.checkpoint(run_id).attempts == 1, "before its time"
    bench.pass_time(20)
    bench.pass_time(20)
    run = bench.run(run_id)
    assert run.status is RunStatus.FAILED
    assert run.error == "Node 'node' raised ValueError: no luck"
    assert "dirt" not in run.vars
    failures = [entry.record for entry in bench.store.ledger(run_id) if entry.record["status"] == "failed"]
    assert [record["attempt"] for record in failures] == [1, 2, 3]


def test_fail_run_ends_the_run_at_once_with_its_message() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        raise FailRun("row 17: amount is missing")

    bench = one_node(node)
    run_id = bench.start("w")
    bench.drain()
    assert (bench.run(run_id).status, bench.run(run_id).error) == (
        RunStatus.FAILED,
        "row 17: amount is missing",
    )


def test_variables_that_are_not_json_fail_the_node_with_the_reason() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["when"] = object()
        return StepPlan("node", next_node="done")

    bench = one_node(node, node_retry=NodeRetry(max_attempts=1))
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).status is RunStatus.FAILED
    assert "object" in str(bench.run(run_id).error)


def test_an_unknown_node_waits_visibly_for_a_worker_that_knows_it() -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="new-in-the-next-release"))
    run_id = bench.start("w")
    bench.drain()
    held = bench.checkpoint(run_id)
    assert held.hold_reason == "no worker yet knows node 'new-in-the-next-release' of workflow 'w'"
    assert held.run.status is RunStatus.RUNNING
    workflow = bench.app.get("w")
    assert workflow is not None
    workflow.nodes["new-in-the-next-release"] = workflow.nodes["done"]
    bench.pass_time(120)
    assert bench.run(run_id).status is RunStatus.COMPLETED
    assert bench.checkpoint(run_id).hold_reason is None


def test_an_outside_effect_is_claimed_before_it_runs_and_recorded_after() -> None:
    seen: list[str] = []
    bench = one_node(call)

    @bench.app.effect(EffectType.TOOL_CALLS)
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        held = bench.checkpoint(run.run_id)
        seen.append(current_effect().idempotency_key)
        assert held.lease_until is not None
        assert bench.records(run.run_id) == [("started", "tool_calls")]
        return EffectOutcome.completed({"ok": True})

    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).output == {"result": {"ok": True}}
    assert bench.records(run_id) == [("started", "tool_calls"), ("completed", "tool_calls"), *TERMINAL]
    assert len(seen) == 1


def test_a_quick_effect_runs_inside_its_tick() -> None:
    bench = one_node(call)
    bench.app.effect(EffectType.TOOL_CALLS, quick=True)(lambda run, effect: EffectOutcome.completed({"q": 1}))
    run_id = bench.start("w")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.run(run_id).current_node == "done"
    assert all(message.task.value == "tick" for message in bench.sent if isinstance(message, Hint))


def test_a_failed_attempt_is_retried_as_a_timer_with_the_same_key() -> None:
    outcomes = [EffectOutcome.failed("busy"), EffectOutcome.completed({"ok": 1})]
    bench = one_node(call, policy=RetryPolicy(tool_max_attempts=2, backoff_base=5.0))
    bench.app.effect(EffectType.TOOL_CALLS)(lambda run, effect: outcomes.pop(0))
    run_id = bench.start("w")
    bench.drain()
    waiting = bench.checkpoint(run_id)
    assert waiting.due_at == pytest.approx(bench.time + 5.0, abs=0.5)
    bench.deployment.engine.effect(run_id, waiting.version)
    assert len(outcomes) == 1, "before its time"
    bench.pass_time(20)
    assert bench.run(run_id).output == {"result": {"ok": 1}}
    keys = {entry.record["idempotency_key"] for entry in bench.store.ledger(run_id)[:4]}
    assert len(keys) == 1


def test_the_last_failed_attempt_fails_the_run() -> None:
    bench = one_node(call)
    bench.app.effect(EffectType.TOOL_CALLS)(lambda run, effect: EffectOutcome.failed("no"))
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).error == "Effect failed after 1 attempts: no"
    assert bench.records(run_id)[-1] == ("completed", "emit_event")
    assert traced_error(bench, run_id) == bench.run(run_id).error


def traced_error(bench: Bench, run_id: str) -> object:
    """What the trace shows of the node's last step (`spec/01 §5.6`, §11.1)."""
    traces = derive_traces(entry.record for entry in bench.store.ledger(run_id))
    return traces["node"]["steps"][-1]["error"]


def test_a_trace_shows_the_error_that_the_last_attempt_gave_the_run() -> None:
    bench = one_node(call, policy=RetryPolicy(tool_max_attempts=2, backoff_base=5.0))
    bench.app.effect(EffectType.TOOL_CALLS)(lambda run, effect: EffectOutcome.failed("busy"))
    run_id = bench.start("w")
    bench.drain()
    bench.pass_time(20)
    assert bench.run(run_id).error == "Effect failed after 2 attempts: busy"
    assert traced_error(bench, run_id) == bench.run(run_id).error


def test_an_effect_whose_worker_was_lost_is_taken_over_with_the_next_attempt() -> None:
    class Killed(BaseException):
        pass

    attempts: list[int] = []
    bench = one_node(call)

    @bench.app.effect(EffectType.TOOL_CALLS)
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        attempts.append(current_effect().attempt)
        if len(attempts) == 1:
            raise Killed
        return EffectOutcome.completed({"attempt": current_effect().attempt})

    run_id = bench.start("w")
    with pytest.raises(Killed):
        bench.drain()
    bench.pass_time(5)
    assert attempts == [1], "the lease has not ended"
    bench.pass_time(60)
    assert bench.run(run_id).output == {"result": {"attempt": 2}}


def test_an_effect_that_kills_its_worker_each_time_is_stopped() -> None:
    class Killed(BaseException):
        pass

    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        raise Killed

    bench = one_node(call)
    bench.app.effect(EffectType.TOOL_CALLS)(handler)
    run_id = bench.start("w")
    with pytest.raises(Killed):
        bench.drain()
    for _ in range(2):
        with pytest.raises(Killed):
            bench.pass_time(60)
    bench.pass_time(60)
    run = bench.run(run_id)
    assert run.status is RunStatus.FAILED
    assert "its worker was lost 3 times" in str(run.error)
    assert traced_error(bench, run_id) == run.error


def test_lost_messages_are_found_by_the_sweep() -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="done"))
    run_id = bench.start("w")
    bench.lose_messages()
    bench.pass_time(1)
    assert bench.run(run_id).current_node == "node", "within the grace nothing is sent again"
    bench.pass_time(20)
    assert bench.run(run_id).status is RunStatus.COMPLETED


@pytest.mark.parametrize(("first", "commits"), [(True, 1), (False, 2)])
def test_a_hint_that_only_waited_in_a_slow_queue_costs_no_counting(first: bool, commits: int) -> None:
    bench = one_node(lambda run, ctx: StepPlan("node", next_node="done"))
    run_id = bench.start("w")
    bench.lose_messages()
    bench.time += 60.0
    for _ in range(3):  # the queue is so slow that the sweep has sent the step again meanwhile
        bench.time += 60.0
        bench.store.claim_due(limit=10, grace_s=1.0)
    assert bench.checkpoint(run_id).redeliveries == 3
    bench.deployment.engine.tick(run_id, 1, first=first)
    assert bench.checkpoint(run_id).version == 1 + commits
    assert bench.checkpoint(run_id).attempts == 0


def test_a_far_timer_sends_nothing_until_it_enters_the_horizon() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan(
            "node", Effect(EffectType.WAIT_UNTIL, {"until": "2027-06-01T00:00:00Z"}, "result"), "done"
        )

    bench = one_node(node)
    run_id = bench.start("w")
    bench.drain()
    before = len(bench.sent)
    bench.pass_time(3600)
    assert len(bench.sent) == before
    due = bench.checkpoint(run_id).due_at
    assert due is not None
    bench.pass_time(due - bench.time - 10)
    assert isinstance(bench.sent[-1], Hint)
    assert bench.sent[-1].delay_s == pytest.approx(10, abs=1)
    bench.pass_time(60)
    assert bench.run(run_id).output == {
        "result": {"until": "2027-06-01T00:00:00.000000+00:00", "ready": True}
    }


def test_a_wait_with_a_time_out_goes_on_when_nothing_comes() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        effect = Effect(EffectType.WAIT_EVENT, {"wait_key": "k", "timeout_s": 5}, "result")
        return StepPlan("node", effect, "done")

    bench = one_node(node)
    run_id = bench.start("w")
    bench.drain()
    bench.pass_time(30)
    output = bench.run(run_id).output
    assert output is not None
    assert output["result"]["timed_out"] is True


def test_a_wait_for_any_of_several_events_takes_the_first() -> None:
    def node(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("node", Effect(EffectType.WAIT_EVENT, {"wait_keys": ["a", "b"]}, "result"), "done")

    bench = one_node(node)
    run_id = bench.start("w")
    bench.drain()
    commits = bench.deployment.commits
    with commits.batch() as batch:
        went_on = commits.emit(batch, commits.new_event("b", {"from": "b"}))
    assert went_on is not None
    assert [run.run_id for run in went_on] == [run_id]
    with commits.batch() as batch:
        assert commits.emit(batch, commits.new_event("a", {"from": "a"})) == []
    bench.drain()
    assert bench.run(run_id).output == {"result": {"from": "b"}}


def test_equal_effects_of_one_node_are_carried_out_once() -> None:
    calls: list[int] = []

    def node(run: RunState, ctx: RunContext) -> StepPlan:
        run.vars["n"] = run.vars.get("n", 0) + 1
        effect = Effect(EffectType.TOOL_CALLS, {"tool_calls": []}, "result")
        return StepPlan("node", effect, "done" if run.vars["n"] == 3 else "node")

    bench = one_node(node)

    @bench.app.effect(EffectType.TOOL_CALLS)
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        calls.append(1)
        return EffectOutcome.completed({"n": len(calls)})

    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).output == {"result": {"n": 1}}
    assert calls == [1]


def test_an_outcome_is_kept_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    refused: list[int] = []
    bench = one_node(call)
    commit = bench.store.commit

    def away_for_the_outcome(write: Write) -> Written:
        if calls and len(refused) < 2:
            refused.append(1)
            raise ServiceUnavailableError("the database is away")
        return commit(write)

    @bench.app.effect(EffectType.TOOL_CALLS)
    def handler(run: RunState, effect: Effect) -> EffectOutcome:
        calls.append(1)
        return EffectOutcome.completed({"ok": 1})

    monkeypatch.setattr(bench.store, "commit", away_for_the_outcome)
    run_id = bench.start("w")
    bench.drain()
    assert bench.run(run_id).output == {"result": {"ok": 1}}
    assert (len(calls), len(refused)) == (1, 2)


def test_a_tick_of_several_steps_sends_the_hints_of_each() -> None:
    def begin(run: RunState, ctx: RunContext) -> StepPlan:
        payload = {"workflow_id": "child", "async": True}
        return StepPlan("begin", Effect(EffectType.START_SUBWORKFLOW, payload, "child"), "park")

    def park(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("park", Effect(EffectType.ASK_USER, {"prompt": "?"}))

    def child(run: RunState, ctx: RunContext) -> StepPlan:
        return StepPlan("child", complete_output={})

    parent = WorkflowSpec("parent", "begin", {"begin": begin, "park": park})
    bench = Bench(App(workflows=[parent, WorkflowSpec("child", "child", {"child": child})]), tick_max_steps=9)
    run_id = bench.start("parent")
    bench.deployment.engine.tick(run_id, 1)
    assert bench.run(run_id).status is RunStatus.WAITING
    child_id = bench.run(run_id).vars["child"]["sub_run_id"]
    assert [message.run_id for message in bench.sent[1:]] == [child_id]
