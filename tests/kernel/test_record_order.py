"""Which checkpoints and records are written, and in which order (`spec/01 §10`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import EffectType, RunStatus, WaitReason, WaitState
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import RetryPolicy

from .flows import asks, done, flow, goes
from .kernel import Kernel
from .recording import Recorder

ANSWER = asks(EffectType.ANSWER_USER, {"message": "hi"})
ASK = asks(EffectType.ASK_USER, {"prompt": "Go on?"})


def test_start_writes_one_checkpoint_and_nothing_else(recorded: Kernel, recorder: Recorder) -> None:
    recorded.start(flow(a=ANSWER, done=done))
    assert recorder.take() == ["S(running, a)"]


def test_pure_transition_writes_no_record(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=goes("b"), b=goes("a"))
    run_id = recorded.start(workflow)
    recorder.take()
    recorded.tick(workflow, run_id, max_steps=1)
    assert recorder.take() == ["S(running, b)"]


def test_completion_checkpoint_then_completion_then_status(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(done=done)
    run_id = recorded.start(workflow)
    recorder.take()
    recorded.tick(workflow, run_id)
    assert recorder.take() == ["S(completed, done)", "completion", "status completed"]


def test_effect_with_next_node(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=ANSWER, done=done)
    run_id = recorded.start(workflow)
    recorder.take()
    recorded.tick(workflow, run_id, max_steps=1)
    assert recorder.take() == ["started answer_user", "completed answer_user", "S(running, done)"]


def test_terminal_effect_appends_a_completion_like_any_other_end(
    recorded: Kernel, recorder: Recorder
) -> None:
    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "bye"}, then=None))
    run_id = recorded.start(workflow)
    recorder.take()
    state = recorded.tick(workflow, run_id)
    assert recorder.take() == [
        "started answer_user",
        "completed answer_user",
        "S(completed, a)",
        "completion",
        "status completed",
    ]
    assert state.output == {"success": True, "result": {"message": "bye", "level": "message"}}


def test_failed_effect_records_each_attempt(recorded: Kernel, recorder: Recorder) -> None:
    recorded.use(
        effect_handlers={EffectType.LLM_CALL: lambda run, effect: EffectOutcome.failed("no")},
        effect_policy=RetryPolicy(llm_max_attempts=2, backoff_base=0),
    )
    workflow = flow(a=asks(EffectType.LLM_CALL))
    run_id = recorded.start(workflow)
    recorder.take()
    state = recorded.tick(workflow, run_id)
    attempt = ["started llm_call", "failed llm_call"]
    assert recorder.take() == [*attempt, *attempt, "S(failed, a)", "status failed"]
    assert state.error == "Effect failed after 2 attempts: no"


def test_waiting_effect(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=ASK, done=done)
    run_id = recorded.start(workflow)
    recorder.take()
    recorded.tick(workflow, run_id)
    assert recorder.take() == ["started ask_user", "waiting ask_user", "S(waiting, a)"]


def test_reuse_writes_no_record(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}, then="a"))
    run_id = recorded.start(workflow)
    recorded.tick(workflow, run_id, max_steps=1)
    recorder.take()
    recorded.tick(workflow, run_id, max_steps=1)
    assert recorder.take() == ["S(running, a)"]


def test_reuse_on_a_terminal_node_ends_the_run_as_any_effect_does(
    recorded: Kernel, recorder: Recorder
) -> None:
    workflow = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}, then="a"))
    run_id = recorded.start(workflow)
    recorded.tick(workflow, run_id, max_steps=1)
    recorder.take()
    last = flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}, then=None))
    state = recorded.tick(last, run_id)
    assert recorder.take() == ["S(completed, a)", "completion", "status completed"]
    assert state.output == {"success": True, "result": {"message": "hi", "level": "message"}}


def test_resume_that_goes_on(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=ASK, done=done)
    run_id = recorded.go(workflow).run_id
    recorder.take()
    recorded.resume(workflow, run_id, {"text": "yes"})
    assert recorder.take() == [
        "resume",
        "S(running, done)",
        "S(completed, done)",
        "completion",
        "status completed",
    ]


def test_resume_of_a_terminal_wait(recorded: Kernel, recorder: Recorder) -> None:
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}, then=None))
    run_id = recorded.go(workflow).run_id
    recorder.take()
    state = recorded.resume(workflow, run_id, {"text": "yes"}, max_steps=0)
    assert recorder.take() == ["resume", "S(completed, a)", "completion via resume", "status completed"]
    assert state.output == {"success": True, "result": {"text": "yes"}}


def test_cancel(recorded: Kernel, recorder: Recorder) -> None:
    run_id = recorded.go(flow(a=ASK, done=done)).run_id
    recorder.take()
    recorded.runtime.cancel_run(run_id)
    assert recorder.take() == ["S(cancelled, a)", "status cancelled"]


@pytest.mark.parametrize("cascade", [False, True])
def test_pause_and_unpause_write_a_checkpoint_only(
    recorded: Kernel, recorder: Recorder, cascade: bool
) -> None:
    run_id = recorded.start(flow(a=ASK, done=done))
    recorder.take()
    recorded.runtime.pause_run(run_id, reason="tea", cascade=cascade)
    recorded.runtime.resume_run(run_id, cascade=cascade)
    assert recorder.take() == ["S(waiting, a)", "S(running, a)"]


@pytest.mark.weakness("spec/01 §19.16")
@pytest.mark.parametrize("cascade", [False, True])
def test_pause_and_unpause_add_a_control_record_if_the_host_wants(
    recorded: Kernel, recorder: Recorder, cascade: bool
) -> None:
    recorded.use(hooks=Hooks(record_transitions=True))
    run_id = recorded.start(flow(a=ASK, done=done))
    recorder.take()
    recorded.runtime.pause_run(run_id, cascade=cascade)
    recorded.runtime.resume_run(run_id, cascade=cascade)
    assert recorder.take() == ["pause", "S(waiting, a)", "unpause", "S(running, a)"]


def test_limits_write_a_checkpoint_only(recorded: Kernel, recorder: Recorder) -> None:
    run_id = recorded.start(flow(a=ASK, done=done))
    recorder.take()
    recorded.runtime.update_limits(run_id, {"max_tokens": 5})
    assert recorder.take() == ["S(running, a)"]


@pytest.mark.weakness("spec/01 §19.12")
def test_due_timer_is_one_durable_transition(recorded: Kernel, recorder: Recorder) -> None:
    until = recorded.clock.iso(hours=1)
    workflow = flow(a=asks(EffectType.WAIT_UNTIL, {"until": until}), done=done)
    run_id = recorded.go(workflow).run_id
    recorder.take()
    recorded.clock.skip(hours=2)
    state = recorded.tick(workflow, run_id, max_steps=0)
    assert recorder.take() == ["resume", "S(running, done)"]
    assert state.vars["out"] == {"until": until, "ready": True}


@pytest.mark.parametrize("reason", [WaitReason.JOB, WaitReason.EVENT])
def test_wait_made_by_a_hosts_handler(recorded: Kernel, recorder: Recorder, reason: WaitReason) -> None:
    def handler(run: Any, effect: Any, next_node: str | None) -> EffectOutcome:
        return EffectOutcome.waiting(WaitState(reason, "job:1", resume_to_node=next_node, result_key="out"))

    recorded.use(effect_handlers={EffectType.TOOL_CALLS: handler})
    workflow = flow(a=asks(EffectType.TOOL_CALLS), done=done)
    state = recorded.go(workflow)
    assert recorder.take()[1:] == ["started tool_calls", "waiting tool_calls", "S(waiting, a)"]
    assert state.waiting is not None
    assert state.waiting.reason is reason
    assert recorded.resume(workflow, state.run_id, 7, wait_key="job:1").output == {"out": 7}


def test_updated_at_moves_on_with_every_write(kernel: Kernel) -> None:
    workflow = flow(a=goes("b"), b=goes("a"))
    run_id = kernel.start(workflow)
    stamps = [kernel.state(run_id).updated_at]
    kernel.clock.moment = kernel.clock.moment.replace(year=2020)  # even if the clock goes back
    for write in (
        lambda: kernel.tick(workflow, run_id, max_steps=1),
        lambda: kernel.tick(workflow, run_id, max_steps=1),
        lambda: kernel.runtime.pause_run(run_id),
        lambda: kernel.runtime.resume_run(run_id),
        lambda: kernel.runtime.update_limits(run_id, {"max_tokens": 1}),
        lambda: kernel.runtime.cancel_run(run_id),
    ):
        write()
        stamps.append(kernel.state(run_id).updated_at)
    assert stamps == sorted(set(stamps))


def test_current_node_stays_where_the_run_ended_or_waits(kernel: Kernel) -> None:
    assert kernel.go(flow(a=ASK, done=done)).current_node == "a"
    assert kernel.go(flow(a=goes("done"), done=done)).current_node == "done"
    failed = kernel.go(flow(a=asks(EffectType.ASK_USER)))
    assert (failed.status, failed.current_node) == (RunStatus.FAILED, "a")
