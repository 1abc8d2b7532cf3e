"""START_SUBWORKFLOW (`spec/01 §12.6`, §13.4, §19.6 to §19.8)."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any
from uuid import RFC_4122, UUID

import pytest

from abstractruntime.core.config import RuntimeConfig
from abstractruntime.core.models import (
    Effect,
    EffectType,
    RunState,
    RunStatus,
    StepPlan,
    StepRecord,
    WaitReason,
)
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.core.run_locks import locks_of
from abstractruntime.core.spec import RunContext, WorkflowSpec

from .flows import asks, done, flow, goes, loop
from .kernel import Kernel

START = EffectType.START_SUBWORKFLOW
ASK = asks(EffectType.ASK_USER, {"prompt": "?", "wait_key": "k"})


def ends(output: Any) -> WorkflowSpec:
    """A child that completes with this output."""
    return flow("child", end=lambda run, context: StepPlan("end", complete_output=output))


def parent(**payload: Any) -> WorkflowSpec:
    return flow("parent", a=asks(START, {"workflow_id": "child", **payload}), done=done)


def child_of(kernel: Kernel, run_id: str) -> RunState:
    (found,) = kernel.run_store.list_children(parent_run_id=run_id)
    return kernel.state(found.run_id)


def run_parent(kernel: Kernel, child: WorkflowSpec, **payload: Any) -> RunState:
    kernel.know(child)
    return kernel.go(parent(**payload), session_id="s", actor_id="actor")


# -- sync -----------------------------------------------------------------------------------------


def test_child_that_completes(kernel: Kernel) -> None:
    state = run_parent(kernel, ends({"answer": 1}), unknown="ignored")
    child = child_of(kernel, state.run_id)
    assert state.output == {"out": {"sub_run_id": child.run_id, "output": {"answer": 1}}}
    assert (child.parent_run_id, child.actor_id, child.session_id) == (state.run_id, "actor", "s")
    assert (UUID(child.run_id).version, UUID(child.run_id).variant) == (4, RFC_4122)
    assert str(UUID(child.run_id)) == child.run_id
    assert kernel.kinds(child.run_id) == ["completion", "status completed"]
    assert kernel.kinds(state.run_id)[:2] == ["started start_subworkflow", "completed start_subworkflow"]


@pytest.mark.parametrize(
    ("payload", "session"),
    [
        ({}, "s"),
        ({"session_id": " mine "}, "mine"),
        ({"sessionId": "mine"}, "mine"),
        ({"session_id": " ", "sessionId": "mine"}, "mine"),
        ({"session_id": 5}, "s"),
    ],
)
def test_session_of_the_child(kernel: Kernel, payload: Any, session: str) -> None:
    state = run_parent(kernel, ends({}), **payload)
    assert child_of(kernel, state.run_id).session_id == session


def test_child_of_a_parent_without_session_has_none(kernel: Kernel) -> None:
    kernel.know(ends({}))
    assert child_of(kernel, kernel.go(parent()).run_id).session_id is None


@pytest.mark.weakness("spec/01 §19.21")
def test_vars_of_the_child_are_its_own(kernel: Kernel) -> None:
    given = {"nested": {"a": 1}}
    state = run_parent(kernel, ends({}), vars=given)
    assert child_of(kernel, state.run_id).vars["nested"] == {"a": 1}
    assert given == {"nested": {"a": 1}}
    state = run_parent(kernel, ends({}), vars="text")
    assert set(child_of(kernel, state.run_id).vars) == {"_limits", "_runtime"}


def test_workspace_is_inherited(kernel: Kernel) -> None:
    own = {
        "workspace_root": "/w",
        "workspace_access_mode": " ",
        "workspace_allowed_paths": ["/a"],
        "workspace_ignored_paths": None,
        "other": 1,
    }
    kernel.know(ends({}))
    state = kernel.go(parent(), own)
    child = child_of(kernel, state.run_id).vars
    assert (child["workspace_root"], child["workspace_allowed_paths"]) == ("/w", ["/a"])
    assert not {"workspace_access_mode", "workspace_ignored_paths", "other"} & set(child)
    state = kernel.go(parent(vars={"workspace_root": ""}), own)
    assert child_of(kernel, state.run_id).vars["workspace_root"] == ""


def test_traces_of_the_child(kernel: Kernel) -> None:
    child = flow("child", a=asks(EffectType.ANSWER_USER, {"message": "hi"}), done=done)
    state = run_parent(kernel, child, include_traces=True)
    steps = state.vars["out"]["node_traces"]["a"]["steps"]
    assert [step["result"]["message"] for step in steps] == ["hi"]


def test_child_that_fails(kernel: Kernel) -> None:
    state = run_parent(kernel, flow("child", a=asks(EffectType.ASK_USER)))
    assert state.error == (
        "Effect failed after 1 attempts: Subworkflow 'child' failed: "
        "Effect failed after 1 attempts: ask_user requires payload.prompt"
    )


@pytest.mark.weakness("spec/01 §19.6")
def test_child_that_raises_does_not_stay_running(kernel: Kernel) -> None:
    def raises(run: RunState, context: RunContext) -> StepPlan:
        raise RuntimeError("bad node")

    state = run_parent(kernel, flow("child", a=raises))
    assert state.error == "Effect failed after 1 attempts: Subworkflow 'child' failed: bad node"
    child = child_of(kernel, state.run_id)
    assert (child.status, child.error) == (RunStatus.FAILED, "bad node")
    assert kernel.kinds(child.run_id) == ["status failed"]


@pytest.mark.weakness("spec/01 §19.7")
def test_child_with_many_steps_is_no_failure(kernel: Kernel) -> None:
    child = flow("child", a=loop(EffectType.ANSWER_USER, lambda n: {"message": n}, times=150))
    assert run_parent(kernel, child).vars["out"]["output"] == {"visits": 150}


def test_child_that_waits(kernel: Kernel) -> None:
    child = flow("child", a=ASK, done=done)
    state = run_parent(kernel, child)
    waiting = child_of(kernel, state.run_id)
    assert state.waiting is not None
    assert (state.waiting.reason, state.waiting.wait_key) == (
        WaitReason.SUBWORKFLOW,
        f"subworkflow:{waiting.run_id}",
    )
    assert (state.waiting.resume_to_node, state.waiting.result_key) == ("done", "out")
    assert state.waiting.details == {
        "sub_run_id": waiting.run_id,
        "sub_workflow_id": "child",
        "include_traces": False,
        "sub_waiting": {"reason": "user", "wait_key": "k"},
    }
    output = kernel.resume(child, waiting.run_id, 7).output
    payload = {"sub_run_id": waiting.run_id, "output": output}
    key = f"subworkflow:{waiting.run_id}"
    assert kernel.resume(parent(), state.run_id, payload, wait_key=key).output == {"out": payload}


def test_parent_of_a_waiting_child_takes_any_payload(kernel: Kernel) -> None:
    state = run_parent(kernel, flow("child", a=ASK, done=done))
    assert kernel.resume(parent(), state.run_id, "anything").output == {"out": "anything"}


def test_child_cancelled_while_it_runs(kernel: Kernel) -> None:
    def cancels(run: RunState, context: RunContext) -> StepPlan:
        kernel.runtime.cancel_run(run.run_id)
        return StepPlan("a", next_node="a")

    state = run_parent(kernel, flow("child", a=cancels))
    assert state.error == "Effect failed after 1 attempts: Unexpected subworkflow status: cancelled"


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"workflow_id": None}, "start_subworkflow requires payload.workflow_id"),
        ({"workflow_id": " "}, "start_subworkflow requires payload.workflow_id"),
        ({"workflow_id": "nope"}, "Workflow 'nope' not found in registry"),
    ],
)
@pytest.mark.parametrize("wrap", [False, True])
def test_refused(kernel: Kernel, payload: Any, error: str, wrap: bool) -> None:
    state = run_parent(kernel, ends({}), wrap_as_tool_result=wrap, **payload)
    check_failure(state, error, wrap)


@pytest.mark.parametrize("wrap", [False, True])
def test_registry_is_needed(kernel: Kernel, wrap: bool) -> None:
    kernel.use(workflow_registry=None)
    state = run_parent(kernel, ends({}), wrap_as_tool_result=wrap)
    error = state.error or state.vars["out"]["results"][0]["error"]
    assert "start_subworkflow requires a workflow_registry. " in error
    assert state.status is (RunStatus.COMPLETED if wrap else RunStatus.FAILED)


def check_failure(state: RunState, error: str, wrap: bool) -> None:
    if not wrap:
        assert state.error == f"Effect failed after 1 attempts: {error}"
        return
    entry = {
        "call_id": "subworkflow",
        "name": "start_subworkflow",
        "success": False,
        "output": None,
        "error": error,
    }
    assert state.vars["out"] == {"mode": "executed", "results": [entry]}


# -- async ----------------------------------------------------------------------------------------


def test_async_child_is_left_to_the_host(kernel: Kernel) -> None:
    state = run_parent(kernel, ends({}), **{"async": True})
    child = child_of(kernel, state.run_id)
    assert state.output == {"out": {"sub_run_id": child.run_id, "async": True}}
    assert (child.status, child.current_node, kernel.ledger(child.run_id)) == (RunStatus.RUNNING, "end", [])


def test_async_child_that_is_waited_for(kernel: Kernel) -> None:
    state = run_parent(kernel, ends({}), **{"async": True}, wait=True, include_traces=True)
    child = child_of(kernel, state.run_id)
    assert child.status is RunStatus.RUNNING
    assert state.waiting is not None
    assert state.waiting.wait_key == f"subworkflow:{child.run_id}"
    assert state.waiting.details == {
        "sub_run_id": child.run_id,
        "sub_workflow_id": "child",
        "async": True,
        "include_traces": True,
    }


def test_wait_means_nothing_without_async(kernel: Kernel) -> None:
    assert run_parent(kernel, ends({}), wait=True).status is RunStatus.COMPLETED


# -- as a tool ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "answer", "report"),
    [
        ({"answer": " yes ", "report": " long "}, "yes", "long"),
        ({"answer": " ", "x": "é"}, '{"answer": " ", "x": "é"}', None),
        ({"answer": "a", "report": "x" * 4001}, "a", None),
        ({"answer": "a", "report": " "}, "a", None),
        ({}, "{}", None),
    ],
)
def test_wrapped_success(kernel: Kernel, output: Any, answer: str, report: str | None) -> None:
    state = run_parent(kernel, ends(output), wrap_as_tool_result=True, toolName="ask_child", callId="c1")
    child = child_of(kernel, state.run_id)
    expected = {"rendered": answer, "answer": answer, "sub_run_id": child.run_id}
    if report is not None:
        expected["report"] = report
    entry = {"call_id": "c1", "name": "ask_child", "success": True, "output": expected, "error": None}
    assert state.vars["out"] == {"mode": "executed", "results": [entry]}


def test_wrapped_failures(kernel: Kernel) -> None:
    def raises(run: RunState, context: RunContext) -> StepPlan:
        raise RuntimeError("bad node")

    state = run_parent(kernel, flow("child", a=raises), wrap_as_tool_result=True)
    check_failure(state, "Subworkflow 'child' failed: bad node", wrap=True)
    state = run_parent(kernel, ends({"success": False, "error": "sorry"}), wrap_as_tool_result=True)
    check_failure(state, "sorry", wrap=True)


def test_wrapped_async(kernel: Kernel) -> None:
    state = run_parent(
        kernel, ends({}), wrap_as_tool_result=True, tool_name="t", call_id="c", **{"async": True}
    )
    child = child_of(kernel, state.run_id)
    output = {"rendered": "Started subworkflow child", "sub_run_id": child.run_id, "async": True}
    entry = {"call_id": "c", "name": "t", "success": True, "output": output, "error": None}
    assert state.vars["out"] == {"mode": "executed", "results": [entry]}


def wrapped_parent(kernel: Kernel, key: str | None = "out") -> tuple[WorkflowSpec, RunState, str]:
    payload = {"workflow_id": "child", "wrap_as_tool_result": True, "tool_name": "t", "call_id": "c"}
    workflow = flow("parent", a=asks(START, payload, key=key), done=done)
    kernel.know(flow("child", a=ASK, done=done))
    state = kernel.go(workflow)
    assert state.waiting is not None
    details = state.waiting.details or {}
    assert {name: details[name] for name in ("wrap_as_tool_result", "tool_name", "call_id")} == {
        "wrap_as_tool_result": True,
        "tool_name": "t",
        "call_id": "c",
    }
    return workflow, state, details["sub_run_id"]


@pytest.mark.parametrize(
    ("payload", "success", "output", "error"),
    [
        (
            {"sub_run_id": "r", "output": {"answer": "a"}},
            True,
            {"rendered": "a", "answer": "a", "sub_run_id": "r"},
            None,
        ),
        ({"output": "text"}, True, {"rendered": "text", "answer": "text", "sub_run_id": "THE CHILD"}, None),
        ({}, True, {"rendered": "null", "answer": "null", "sub_run_id": "THE CHILD"}, None),
        ({"output": {"success": False, "error": 5}}, False, None, "5"),
        ({"output": {"success": False}}, False, None, "Subworkflow failed"),
    ],
)
def test_wrapped_resume(kernel: Kernel, payload: Any, success: bool, output: Any, error: Any) -> None:
    workflow, state, child_id = wrapped_parent(kernel)
    if output is not None and output["sub_run_id"] == "THE CHILD":
        output = {**output, "sub_run_id": child_id}
    ended = kernel.resume(workflow, state.run_id, payload)
    entry = {"call_id": "c", "name": "t", "success": success, "output": output, "error": error}
    assert ended.output == {"out": {"mode": "executed", "results": [entry]}}
    assert kernel.ledger(state.run_id)[2]["effect"]["payload"]["payload"] == ended.vars["out"]


@pytest.mark.parametrize("payload", [{"mode": "x", "results": []}, "text", [1], None])
def test_wrapped_resume_with_a_ready_result(kernel: Kernel, payload: Any) -> None:
    workflow, state, _ = wrapped_parent(kernel)
    assert kernel.resume(workflow, state.run_id, payload).output == {"out": payload}


def test_wrapped_resume_without_result_key_converts_nothing(kernel: Kernel) -> None:
    workflow, state, _ = wrapped_parent(kernel, key=None)
    kernel.resume(workflow, state.run_id, {"output": "text"})
    assert kernel.ledger(state.run_id)[2]["effect"]["payload"]["payload"] == {"output": "text"}


# -- nesting --------------------------------------------------------------------------------------


def test_waits_and_errors_nest(kernel: Kernel) -> None:
    kernel.know(
        flow("grandchild", a=ASK, done=done),
        flow("child", a=asks(START, {"workflow_id": "grandchild"}), done=done),
    )
    state = kernel.go(parent())
    child = child_of(kernel, state.run_id)
    grandchild = child_of(kernel, child.run_id)
    assert [s.waiting and s.waiting.reason.value for s in (state, child, grandchild)] == [
        "subworkflow",
        "subworkflow",
        "user",
    ]
    kernel.know(flow("grandchild", a=asks(EffectType.ASK_USER)))
    assert kernel.go(parent()).error == (
        "Effect failed after 1 attempts: Subworkflow 'child' failed: "
        "Effect failed after 1 attempts: Subworkflow 'grandchild' failed: "
        "Effect failed after 1 attempts: ask_user requires payload.prompt"
    )


def recursive(kernel: Kernel, limit: int) -> list[RunState]:
    """Runs of a workflow that starts itself, outermost first."""
    workflow = flow("self", a=asks(START, {"workflow_id": "self"}), done=done)
    kernel.use(config=RuntimeConfig(max_subworkflow_depth=limit))
    states = [kernel.go(workflow)]
    while children := kernel.run_store.list_children(parent_run_id=states[-1].run_id):
        states.append(children[0])
    return states


@pytest.mark.weakness("spec/01 §19.8")
@pytest.mark.parametrize("limit", [0, 1, 3])
def test_depth_is_limited(kernel: Kernel, limit: int) -> None:
    states = recursive(kernel, limit)
    assert len(states) == limit + 1
    assert all(state.status is RunStatus.FAILED for state in states)
    assert states[-1].error == (
        f"Effect failed after 1 attempts: Subworkflow 'self' not started: nesting is limited to {limit} "
        "levels (RuntimeConfig.max_subworkflow_depth)"
    )


@pytest.mark.weakness("spec/01 §19.8")
@pytest.mark.parametrize("stores", ["memory", "sqlite"], indirect=True)
def test_default_depth_does_not_exhaust_the_stack(kernel: Kernel) -> None:
    states = recursive(kernel, RuntimeConfig().max_subworkflow_depth)
    assert len(states) == 51
    assert "nesting is limited to 50 levels" in (states[0].error or "")


def test_each_attempt_starts_a_child(kernel: Kernel) -> None:
    kernel.use(effect_policy=DefaultEffectPolicy(default_max_attempts=3, default_backoff_base=0))
    kernel.know(flow("child", a=asks(EffectType.LLM_CALL)))
    state = kernel.go(parent())
    assert (state.error or "").startswith("Effect failed after 3 attempts: Subworkflow 'child' failed: ")
    assert len(kernel.run_store.list_children(parent_run_id=state.run_id)) == 3


# -- a child that goes on and on (spec/01 §12.6, §19.7) -------------------------------------------


def counts(act: Callable[[RunState, int], StepPlan | None] = lambda run, visit: None) -> WorkflowSpec:
    """A child that visits its node for ever, unless ``act`` has another plan for a visit."""

    def node(run: RunState, context: RunContext) -> StepPlan:
        visit = run.vars["visits"] = run.vars.get("visits", 0) + 1
        return act(run, visit) or StepPlan("a", next_node="a")

    return flow("child", a=node)


ENDED = "Neither waiting nor ended after 7 steps inside its parent's step; raise RuntimeConfig."


@pytest.mark.weakness("spec/01 §19.6")
@pytest.mark.weakness("spec/01 §19.7")
def test_a_child_without_end_is_ended_and_its_parent_says_so(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    state = run_parent(kernel, counts())
    assert state.error == "Effect failed after 1 attempts: Unexpected subworkflow status: running"
    child = child_of(kernel, state.run_id)
    assert (child.status, child.vars["visits"]) == (RunStatus.FAILED, 7)
    assert (child.error or "").startswith(f"{ENDED}max_subworkflow_steps")
    assert kernel.kinds(child.run_id) == ["status failed"]


def test_a_child_without_end_as_a_tool_result(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    (result,) = run_parent(kernel, counts(), wrap_as_tool_result=True).vars["out"]["results"]
    assert (result["success"], result["error"]) == (False, "Unexpected subworkflow status: running")


def test_a_child_may_use_all_of_its_steps(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    ends_in_time = counts(lambda run, visit: StepPlan("a", complete_output={}) if visit == 7 else None)
    assert run_parent(kernel, ends_in_time).status is RunStatus.COMPLETED
    ask = Effect(EffectType.ASK_USER, {"prompt": "?"})
    waits_in_time = counts(lambda run, visit: StepPlan("a", ask, "a") if visit == 7 else None)
    assert run_parent(kernel, waits_in_time).status is RunStatus.WAITING


@pytest.mark.parametrize("by", ["command", "flag", "cancel"])
def test_a_child_that_somebody_stops_at_its_last_step_is_not_ended(kernel: Kernel, by: str) -> None:
    def stop(run: RunState, visit: int) -> StepPlan | None:
        if visit == 7 and by == "command":
            kernel.runtime.pause_run(run.run_id)
        elif visit == 7 and by == "cancel":
            kernel.runtime.cancel_run(run.run_id)
        elif visit == 7:  # as a host does that has only the store
            stored = deepcopy(kernel.run_store.load(run.run_id))
            stored.vars["_runtime"]["control"] = {"paused": True}
            kernel.run_store.save(stored)
        return None

    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    state = run_parent(kernel, counts(stop))
    status = child_of(kernel, state.run_id).status
    if by == "cancel":
        assert (state.error or "").endswith(": Unexpected subworkflow status: cancelled")
    else:
        assert (state.status, state.waiting and state.waiting.reason) == (
            RunStatus.WAITING,
            WaitReason.SUBWORKFLOW,
        )
        assert status is (RunStatus.WAITING if by == "command" else RunStatus.RUNNING)


def test_a_child_that_somebody_else_drives_is_waited_for(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    save, other = kernel.run_store.save, object()

    def taken_at_birth(run: RunState) -> None:
        save(run)
        if run.parent_run_id:
            assert locks_of(kernel.run_store).take(run.run_id, other)

    kernel.run_store.save = taken_at_birth
    state = run_parent(kernel, counts())
    kernel.run_store.save = save
    child = child_of(kernel, state.run_id)
    locks_of(kernel.run_store).give_back(child.run_id, other)
    assert (state.status, child.status, "visits" in child.vars) == (
        RunStatus.WAITING,
        RunStatus.RUNNING,
        False,
    )


def test_a_crash_after_the_end_of_such_a_child_starts_no_other(kernel: Kernel) -> None:
    kernel.use(config=RuntimeConfig(max_subworkflow_steps=7))
    kernel.know(counts())
    run_id = kernel.start(parent())
    append = kernel.ledger_store.append

    def dies_with_the_child(record: StepRecord) -> None:
        append(record)
        if record.run_id != run_id:
            raise Killed

    kernel.ledger_store.append = dies_with_the_child
    with pytest.raises(Killed):
        kernel.tick(parent(), run_id)
    kernel.ledger_store.append = append
    state = kernel.use(config=RuntimeConfig(max_subworkflow_steps=7)).tick(parent(), run_id)
    assert state.status is RunStatus.FAILED
    assert len(kernel.run_store.list_children(parent_run_id=run_id)) == 1


# -- crashes, pauses, loops -----------------------------------------------------------------------


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.weakness("spec/02 D-4a")
@pytest.mark.parametrize("child", [flow("child", a=ASK, done=done), flow("child", done=done)])
@pytest.mark.parametrize("mode", [{}, {"async": True, "wait": True}, {"async": True}])
def test_crash_before_the_commit_does_not_start_a_second_child(
    kernel: Kernel, child: WorkflowSpec, mode: dict[str, Any]
) -> None:
    kernel.know(child)
    workflow = parent(**mode)
    run_id = kernel.start(workflow)
    save = kernel.run_store.save

    def die_when_it_is_the_parent(run: RunState) -> None:
        if run.run_id == run_id:
            raise Killed
        save(run)

    kernel.run_store.save = die_when_it_is_the_parent
    with pytest.raises(Killed):
        kernel.tick(workflow, run_id)
    kernel.run_store.save = save
    kernel.use()
    assert kernel.tick(workflow, run_id).status is not RunStatus.RUNNING
    assert len(kernel.run_store.list_children(parent_run_id=run_id)) == 1


def test_pause_while_the_child_runs_does_not_start_a_second_child(kernel: Kernel) -> None:
    def pauses(run: RunState, context: RunContext) -> StepPlan:
        if run.parent_run_id:
            kernel.runtime.pause_run(run.parent_run_id)
            kernel.runtime.update_limits(run.parent_run_id, {"max_tokens": 7})
        return StepPlan("a", next_node="b")

    kernel.know(flow("child", a=pauses, b=ASK, done=done))
    state = kernel.go(parent())
    assert state.waiting is not None
    assert state.waiting.wait_key == f"pause:{state.run_id}"
    kernel.runtime.resume_run(state.run_id)
    state = kernel.tick(parent(), state.run_id)
    assert state.waiting is not None
    assert state.waiting.wait_key == f"subworkflow:{child_of(kernel, state.run_id).run_id}"
    assert state.vars["_limits"]["max_tokens"] == 7
    assert kernel.kinds(state.run_id).count("waiting start_subworkflow") == 2


def test_loop_that_waits_for_children_starts_one_each_time(kernel: Kernel) -> None:
    def node(run: RunState, context: RunContext) -> StepPlan:
        run.vars["visits"] = run.vars.get("visits", 0) + 1
        if run.vars["visits"] > 3:
            return StepPlan("a", complete_output={})
        return StepPlan("a", Effect(START, {"workflow_id": "child", "async": True, "wait": True}), "a")

    workflow = flow("parent", a=node)
    kernel.know(flow("child", a=goes("done"), done=done))
    run_id = kernel.go(workflow).run_id
    for _ in range(3):
        kernel.resume(workflow, run_id, {})
    assert kernel.state(run_id).status is RunStatus.COMPLETED
    assert len(kernel.run_store.list_children(parent_run_id=run_id)) == 3
