"""Events, answers, parents and cancellation (`spec/02 §13.4`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime import EffectType, RunStatus, WaitReason, WorkflowSpec
from tests.kernel.flows import asks, done, flow

from .conftest import Bench
from .flows import listener, long_one, question, timer


def test_resume_event(bench: Bench) -> None:
    scheduler = bench.scheduler()
    run = bench.go(question())
    assert run.waiting is not None
    assert run.waiting.wait_key is not None
    with pytest.raises(KeyError, match="Unknown run_id: nobody"):
        scheduler.resume_event(run_id="nobody", wait_key="k", payload={})
    with pytest.raises(ValueError, match="wait_key mismatch"):
        scheduler.resume_event(run_id=run.run_id, wait_key="other", payload={})
    key = run.waiting.wait_key
    state = scheduler.resume_event(run_id=run.run_id, wait_key=key, payload={"text": "yes"})
    assert state.output == {"out": {"text": "yes"}}
    with pytest.raises(ValueError, match=rf"^Run '{run.run_id}' is not waiting \(status=completed\)$"):
        scheduler.resume_event(run_id=run.run_id, wait_key=key, payload={})
    other = bench.go(question())
    bench.registry.unregister("question")
    with pytest.raises(KeyError, match="Workflow 'question' is not registered"):
        scheduler.resume_event(run_id=other.run_id, wait_key=key, payload={})


def test_a_paused_run_takes_no_event(bench: Bench) -> None:
    run = bench.go(listener(), session_id="s")
    bench.runtime.pause_run(run.run_id)
    scheduler = bench.scheduler()
    with pytest.raises(ValueError, match="Run is paused"):
        scheduler.resume_event(run_id=run.run_id, wait_key="evt:session:s:go", payload={})
    assert scheduler.emit_event(name="go", payload={}, session_id="s") == []


def test_an_event_reaches_all_who_wait_for_it(bench: Bench) -> None:
    runs = [bench.go(listener(), session_id="s") for _ in range(3)]
    bench.go(listener(), session_id="other")
    bench.go(listener("stop", "stopper"), session_id="s")
    given = {"x": [1]}
    states = bench.scheduler().emit_event(name=" go ", payload=given, scope=" Session ", session_id="s")
    assert [state.run_id for state in states] == [run.run_id for run in reversed(runs)]
    for state in states:
        assert state.output is not None
        assert state.output["out"] == {
            "event_id": None,
            "name": "go",
            "scope": "session",
            "session_id": "s",
            "payload": {"x": [1]},
            "emitted_at": bench.inside(0),
            "emitter": {"source": "external"},
        }


def test_other_scopes_and_plain_payloads(bench: Bench) -> None:
    scheduler = bench.scheduler()
    bench.go(listener(scope="global"))
    (state,) = scheduler.emit_event(name="go", payload=7, scope="global")
    assert state.output is not None
    assert state.output["out"]["payload"] == {"value": 7}
    bench.go(listener(workflow_id="w", scope="workflow"))
    assert len(scheduler.emit_event(name="go", payload=None, scope="workflow", workflow_id="w")) == 1
    run = bench.go(listener(workflow_id="r", scope="run"))
    assert len(scheduler.emit_event(name="go", payload=None, scope="run", run_id=run.run_id)) == 1
    assert scheduler.emit_event(name="go", payload=None, scope="global") == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": " "}, "^emit_event requires a non-empty name$"),
        ({"name": "go", "scope": "planet"}, "^unknown event scope: 'planet'$"),
        ({"name": "go"}, "^missing scope id for scope='session'$"),
        ({"name": "go", "scope": "run"}, "^missing scope id for scope='run'$"),
    ],
)
def test_events_that_cannot_be_addressed(bench: Bench, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bench.scheduler().emit_event(payload={}, **arguments)


def test_one_broken_listener_does_not_keep_the_event_from_the_others(bench: Bench) -> None:
    failed: list[str] = []
    scheduler = bench.scheduler(on_run_failed=lambda run_id, error: failed.append(run_id))
    first = bench.go(listener(), session_id="s")
    broken = bench.go(listener(workflow_id="gone"), session_id="s")
    last = bench.go(listener(), session_id="s")
    bench.registry.unregister("gone")
    states = scheduler.emit_event(name="go", payload={}, session_id="s")
    assert {state.run_id for state in states} == {first.run_id, last.run_id}
    assert failed == [broken.run_id]
    assert scheduler.stats.runs_failed == 1
    assert f"Run {broken.run_id}: Workflow 'gone' is not registered" in scheduler.stats.errors[0]


def test_each_listener_gets_an_envelope_of_its_own(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        bench.go(listener(), session_id="s")
    given: list[Any] = []
    resume = bench.runtime.resume

    def seen(*, payload: Any, **more: Any) -> Any:
        given.append(payload)
        return resume(payload=payload, **more)

    monkeypatch.setattr(bench.runtime, "resume", seen)
    bench.scheduler().emit_event(name="go", payload={"x": []}, session_id="s")
    first, second = given
    assert first == second
    assert first is not second
    assert first["payload"]["x"] is not second["payload"]["x"]


def test_waiters_for_other_events_hide_nobody(bench: Bench) -> None:
    heard = bench.go(listener(), session_id="s")
    for _ in range(5):
        bench.go(listener("stop", "stopper"), session_id="s")
    states = bench.scheduler().emit_event(name="go", payload={}, session_id="s", limit=3)
    assert [state.run_id for state in states] == [heard.run_id]
    assert bench.scheduler().emit_event(name="stop", payload={}, session_id="s", limit=0) == []
    assert len(bench.scheduler().emit_event(name="stop", payload={}, session_id="s", limit=2)) == 2


def test_find_waiting_runs(bench: Bench) -> None:
    scheduler = bench.scheduler()
    asked, heard = bench.go(question()), bench.go(listener())
    bench.go(long_one(1))
    assert [run.run_id for run in scheduler.find_waiting_runs()] == [heard.run_id, asked.run_id]
    assert [run.run_id for run in scheduler.find_waiting_runs(wait_reason=WaitReason.USER)] == [asked.run_id]
    assert [run.run_id for run in scheduler.find_waiting_runs(workflow_id="listener", limit=1)] == [
        heard.run_id
    ]


def _parent(child: str, workflow_id: str = "parent") -> WorkflowSpec:
    return flow(workflow_id, call=asks(EffectType.START_SUBWORKFLOW, {"workflow_id": child}), done=done)


def test_the_parent_gets_its_childs_output(bench: Bench) -> None:
    scheduler = bench.scheduler()
    bench.registry.register(question())
    parent = bench.go(_parent("question"))
    assert parent.waiting is not None
    assert parent.waiting.details is not None
    child_run_id = parent.waiting.details["sub_run_id"]
    assert scheduler.resume_subworkflow_parent(child_run_id="nobody", child_output={}) is None
    state = scheduler.resume_subworkflow_parent(child_run_id=child_run_id, child_output={"a": 1})
    assert state is not None
    assert (state.run_id, state.status) == (parent.run_id, RunStatus.COMPLETED)
    assert state.output == {"out": {"sub_run_id": child_run_id, "output": {"a": 1}}}
    assert scheduler.resume_subworkflow_parent(child_run_id=child_run_id, child_output={}) is None


def test_a_parent_is_found_through_its_child(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.registry.register(question())
    parent = bench.go(_parent("question"))
    (child,) = bench.runtime.run_store.list_children(parent_run_id=parent.run_id)
    scheduler = bench.scheduler()
    monkeypatch.setattr(bench.runtime.run_store, "list_runs", None)
    state = scheduler.resume_subworkflow_parent(child_run_id=child.run_id, child_output=1)
    assert state is not None
    assert state.run_id == parent.run_id


def test_a_tree_is_cancelled_root_first(bench: Bench) -> None:
    scheduler = bench.scheduler()
    bench.registry.register(question())
    bench.registry.register(_parent("question", "middle"))
    root = bench.go(_parent("middle"))
    (middle,) = bench.runtime.run_store.list_children(parent_run_id=root.run_id)
    (leaf,) = bench.runtime.run_store.list_children(parent_run_id=middle.run_id)
    bench.runtime.cancel_run(middle.run_id)  # the leaf below an ended child is reached all the same
    states = scheduler.cancel_with_children(root.run_id, reason="enough")
    assert [state.run_id for state in states] == [root.run_id, leaf.run_id]
    assert {state.error for state in states} == {"enough"}
    assert [state.run_id for state in scheduler.cancel_with_children(root.run_id)] == [root.run_id]
    assert scheduler.cancel_with_children("nobody") == []


def test_a_run_resumed_by_the_host_gets_more_turns(bench: Bench) -> None:
    scheduler = bench.scheduler()
    spec = flow(
        "two", ask=asks(EffectType.ASK_USER, {"prompt": "?"}, then="node"), node=long_one(150).nodes["node"]
    )
    run = bench.go(spec)
    assert run.waiting is not None
    assert run.waiting.wait_key is not None
    state = scheduler.resume_event(run_id=run.run_id, wait_key=run.waiting.wait_key, payload={})
    assert state.status is RunStatus.RUNNING
    scheduler.poll_once()
    assert bench.runtime.get_state(run.run_id).output == {"n": 150}


def test_a_timer_is_no_event(bench: Bench) -> None:
    bench.go(timer(bench.inside(1)), session_id="s")
    assert bench.scheduler().emit_event(name="go", payload={}, session_id="s") == []
