"""Node traces and token accounting (`spec/01 §11.1`, §11.2)."""

from __future__ import annotations

import json
from copy import copy, deepcopy
from typing import Any

import pytest

from abstractruntime.core.derived import Derived
from abstractruntime.core.hooks import Hooks
from abstractruntime.core.models import Effect, EffectType, RunState, RunStatus, StepPlan, StepRecord
from abstractruntime.core.outcome import EffectOutcome
from abstractruntime.core.policy import DefaultEffectPolicy, RetryPolicy
from abstractruntime.core.spec import RunContext
from abstractruntime.core.vars import get_node_trace, get_node_traces

from .flows import asks, done, flow, goes, loop
from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore

LLM = EffectType.LLM_CALL


def steps(kernel: Kernel, run_id: str, node: str = "a") -> list[dict[str, Any]]:
    trace = kernel.runtime.get_node_trace(run_id, node)
    assert trace["node_id"] == node
    found: list[dict[str, Any]] = trace["steps"]
    return found


def test_completed_entry(kernel: Kernel) -> None:
    state = kernel.go(flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}), b=goes("done"), done=done))
    (entry,) = steps(kernel, state.run_id)
    record = kernel.ledger(state.run_id)[1]
    assert entry.pop("ts") == record["ended_at"]
    assert entry.pop("duration_ms") > 0
    assert entry == {
        "node_id": "a",
        "status": "completed",
        "idempotency_key": record["idempotency_key"],
        "reused_prior_result": False,
        "effect": {"type": "answer_user", "payload": {"message": "hi"}, "result_key": "out"},
        "result": {"message": "hi", "level": "message"},
    }
    trace = kernel.runtime.get_node_traces(state.run_id)
    assert set(trace) == {"a"}  # no pure transition, no completion
    assert set(trace["a"]) == {"node_id", "steps", "updated_at"}


def test_failed_and_waiting_entries(kernel: Kernel) -> None:
    failed = kernel.go(flow(a=asks(LLM)))
    (entry,) = steps(kernel, failed.run_id)
    assert (entry["status"], entry["error"]) == ("failed", failed.error)
    assert not {"result", "wait"} & set(entry)
    waiting = kernel.go(flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done))
    (entry,) = steps(kernel, waiting.run_id)
    assert waiting.waiting is not None
    assert (entry["status"], entry["wait"]) == ("waiting", waiting.waiting.to_dict())
    assert not {"result", "error"} & set(entry)


def test_resume_and_control_leave_no_entry(kernel: Kernel) -> None:
    workflow = flow(a=asks(EffectType.WAIT_EVENT, {"wait_key": "k"}), done=done)
    run_id = kernel.go(workflow).run_id
    kernel.runtime.pause_run(run_id)
    kernel.runtime.resume_run(run_id)
    kernel.resume(workflow, run_id, {})
    assert [len(trace["steps"]) for trace in kernel.runtime.get_node_traces(run_id).values()] == [1]


def test_one_entry_per_step_not_per_attempt(kernel: Kernel) -> None:
    answers = iter([EffectOutcome.failed("no"), EffectOutcome.failed("no")])
    kernel.use(
        effect_handlers={LLM: lambda run, effect: next(answers, EffectOutcome.completed({}))},
        effect_policy=RetryPolicy(llm_max_attempts=3, backoff_base=0),
    )
    state = kernel.go(flow(a=asks(LLM), done=done))
    (entry,) = steps(kernel, state.run_id)
    records = kernel.ledger(state.run_id)
    assert entry["status"] == "completed"
    micros = int(records[5]["ended_at"][20:26]) - int(records[0]["started_at"][20:26])
    assert entry["duration_ms"] == pytest.approx(micros / 1000)


def test_exhausted_attempts_are_one_failed_entry(kernel: Kernel) -> None:
    kernel.use(
        effect_handlers={LLM: lambda run, effect: EffectOutcome.failed("no")},
        effect_policy=RetryPolicy(llm_max_attempts=3, backoff_base=0),
    )
    state = kernel.go(flow(a=asks(LLM)))
    assert [entry["status"] for entry in steps(kernel, state.run_id)] == ["failed"]


def test_reused_entry_shows_the_reused_result(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"n": 1})})
    state = kernel.go(flow(a=loop(LLM, lambda visit: {}, times=2)))
    first, second = steps(kernel, state.run_id)
    assert (first["reused_prior_result"], second["reused_prior_result"]) == (False, True)
    assert second["result"] == first["result"] == {"n": 1}
    assert second["ts"] > first["ts"]
    assert second["idempotency_key"] == first["idempotency_key"]


def test_reused_entry_shows_where_its_own_result_went(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"n": 1})})

    def twice(run: RunState, ctx: RunContext) -> StepPlan:
        visit = run.vars["visit"] = run.vars.get("visit", 0) + 1
        if visit > 2:
            return StepPlan("a", complete_output=run.vars["r2"])
        return StepPlan("a", Effect(LLM, {}, f"r{visit}"), "a")

    state = kernel.go(flow(a=twice))
    assert [entry["effect"]["result_key"] for entry in steps(kernel, state.run_id)] == ["r1", "r2"]


def test_marks_of_an_older_release_are_read(kernel: Kernel) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"n": 1})})
    run = kernel.go(flow(a=asks(LLM, {}, then="b"), b=asks(EffectType.ASK_USER, {"prompt": "?"})))
    key = steps(kernel, run.run_id)[0]["idempotency_key"]
    run.vars["_runtime"]["reused_steps"] = {"a": [["2999-01-01T00:00:00+00:00", key]]}
    kernel.run_store.save(run)
    flags = [entry["reused_prior_result"] for entry in steps(kernel, run.run_id)]
    assert flags == [False, True]


def test_last_hundred_entries_are_kept(kernel: Kernel) -> None:
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": visit}, times=120))
    state = kernel.tick(workflow, kernel.start(workflow), max_steps=200)
    messages = [entry["result"]["message"] for entry in steps(kernel, state.run_id)]
    assert messages == [str(number) for number in range(21, 121)]


def test_last_hundred_reused_entries_are_kept(kernel: Kernel) -> None:
    workflow = flow(a=loop(EffectType.ANSWER_USER, lambda visit: {"message": "same"}, times=120))
    state = kernel.tick(workflow, kernel.start(workflow), max_steps=200)
    entries = steps(kernel, state.run_id)
    assert (len(entries), all(entry["reused_prior_result"] for entry in entries)) == (100, True)


def test_entry_without_json_form() -> None:
    kernel = Kernel(PlainRunStore(), PlainLedgerStore())  # a store that takes any object
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed({"x": {1, 2}})})
    state = kernel.go(flow(a=asks(LLM, {"prompt": "p"}), done=done))
    (entry,) = steps(kernel, state.run_id)
    record = kernel.ledger(state.run_id)[1]
    assert entry == {
        "ts": record["ended_at"],
        "node_id": "a",
        "status": "completed",
        "idempotency_key": record["idempotency_key"],
        "reused_prior_result": False,
        "effect": {"type": "llm_call", "result_key": "out"},
        "error": "non_json_safe_trace_entry",
    }


# -- errors (spec/01 §5.6) ------------------------------------------------------------------------


def last_error(kernel: Kernel, state: RunState) -> str:
    assert state.status is RunStatus.FAILED
    entry = steps(kernel, state.run_id)[-1]
    assert entry["status"] == "failed"
    error: str = entry["error"]
    return error


def fails(run: RunState, effect: Effect) -> EffectOutcome:
    return EffectOutcome.failed("no")


def raises(run: RunState, effect: Effect) -> EffectOutcome:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("kind", "payload", "handler"),
    [
        (LLM, {}, fails),
        (LLM, {}, raises),
        (LLM, {}, lambda run, effect: None),
        (LLM, {}, lambda run, effect: EffectOutcome("strange")),
        (LLM, {"not": {1, 2}}, fails),
        (LLM, {"not": float("nan")}, fails),
        (EffectType.ASK_USER, {}, None),
        (EffectType.START_SUBWORKFLOW, {"workflow_id": "child"}, None),
        (EffectType.START_SUBWORKFLOW, {"workflow_id": "nobody"}, None),
        (EffectType.MEMORY_KG_QUERY, {}, None),
    ],
)
@pytest.mark.parametrize("then", ["done", None])
@pytest.mark.parametrize("attempts", [1, 3])
def test_a_failed_step_shows_the_error_of_its_run(
    kernel: Kernel, kind: EffectType, payload: Any, handler: Any, then: str | None, attempts: int
) -> None:
    kernel.know(flow("child", a=asks(EffectType.ASK_USER)))
    kernel.use(
        effect_handlers={} if handler is None else {LLM: handler},
        effect_policy=DefaultEffectPolicy(default_max_attempts=attempts, default_backoff_base=0),
    )
    state = kernel.go(flow(a=asks(kind, payload, then=then), done=done))
    assert (state.error or "").startswith("Effect failed after ")
    assert last_error(kernel, state) == state.error


def test_a_payload_transformer_that_raises_is_the_steps_error(kernel: Kernel) -> None:
    def broken(run: RunState, payload: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("boom")

    kernel.use(effect_handlers={LLM: fails}, hooks=Hooks(payload_transformers={LLM: broken}))
    state = kernel.go(flow(a=asks(LLM), done=done))
    assert last_error(kernel, state) == state.error
    assert "Payload transformer raised exception: boom" in (state.error or "")


def test_a_failure_that_is_found_in_the_ledger_is_the_steps_error(kernel: Kernel) -> None:
    """The process died after the last attempt's record and before the checkpoint."""
    policy = RetryPolicy(llm_max_attempts=2, backoff_base=0)
    kernel.use(effect_handlers={LLM: fails}, effect_policy=policy)
    workflow = flow(a=asks(LLM), done=done)
    run_id = kernel.start(workflow)
    run = kernel.run_store.load(run_id)
    key = policy.idempotency_key(run=run, node_id="a", effect=Effect(LLM, {}, "out"))
    for attempt in (1, 2):
        record = StepRecord.start(
            run=run, node_id="a", effect=Effect(LLM, {}, "out"), attempt=attempt, idempotency_key=key
        )
        kernel.ledger_store.append(record)
        kernel.ledger_store.append(deepcopy(record).finish_failure("lost"))
    state = kernel.tick(workflow, run_id)
    assert state.error == "Effect failed after 2 attempts: lost"
    assert last_error(kernel, state) == state.error


# -- the view in vars -----------------------------------------------------------------------------


def test_vars_have_no_traces_before_the_first_effect(kernel: Kernel) -> None:
    state = kernel.go(flow(a=goes("done"), done=done))
    assert "node_traces" not in state.vars["_runtime"]
    assert kernel.runtime.get_node_traces(state.run_id) == {}
    assert kernel.runtime.get_node_trace(state.run_id, "a") == {"node_id": "a", "steps": []}


def test_vars_serve_traces(kernel: Kernel) -> None:
    state = kernel.go(flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}), done=done))
    expected = kernel.runtime.get_node_traces(state.run_id)
    for served in (state, kernel.state(state.run_id)):
        assert served.vars["_runtime"]["node_traces"] == expected
        assert get_node_traces(served.vars) == expected
        assert get_node_trace(served.vars, "a") == expected["a"]
        assert get_node_trace(served.vars, "x") == {"node_id": "x", "steps": []}


def test_nodes_see_traces_of_the_steps_before(kernel: Kernel) -> None:
    seen: list[list[str]] = []

    def node(run: RunState, context: RunContext) -> StepPlan:
        trace = get_node_trace(run.vars, "a")
        seen.append([entry["result"]["message"] for entry in trace["steps"]])
        if len(seen) == 4:
            return StepPlan("a", complete_output={})
        return StepPlan("a", Effect(EffectType.ANSWER_USER, {"message": len(seen)}), "a")

    kernel.go(flow(a=node))
    assert seen == [[], ["1"], ["1", "2"], ["1", "2", "3"]]


@pytest.mark.weakness("spec/01 §19.2")
def test_checkpoint_does_not_grow_with_the_steps(kernel: Kernel) -> None:
    def size_after(steps: int) -> int:
        long = "x" * 1000
        workflow = flow(a=loop(EffectType.ANSWER_USER, lambda n: {"message": f"{n:04}{long}"}, times=steps))
        state = kernel.tick(workflow, kernel.start(workflow), max_steps=200)
        stored = kernel.run_store.load(state.run_id)
        return len(json.dumps(stored.to_dict()))

    assert size_after(80) - size_after(2) < 10  # digits of a counter


def test_traces_of_an_old_checkpoint_are_served_and_go_on_from_the_ledger(kernel: Kernel) -> None:
    """The published package stored them inside the checkpoint."""
    workflow = flow(a=asks(EffectType.ASK_USER, {"prompt": "?"}), done=done)
    run_id = kernel.start(workflow)
    state = kernel.state(run_id)
    stored = {"a": {"node_id": "a", "steps": ["as stored"], "updated_at": state.updated_at}}
    state.vars["_runtime"]["node_traces"] = stored
    kernel.run_store.save(state)
    assert kernel.runtime.get_node_traces(run_id) == stored
    served = kernel.tick(workflow, run_id).vars["_runtime"]["node_traces"]
    assert served == kernel.runtime.get_node_traces(run_id)
    assert served["a"]["steps"][0] == "as stored"
    assert [step["status"] for step in served["a"]["steps"][1:]] == ["waiting"]
    kept = kernel.run_store.load(run_id).to_dict()["vars"]["_runtime"]["node_traces"]
    assert kept == stored


def test_traces_are_the_readers_own(kernel: Kernel) -> None:
    run_id = kernel.go(flow(a=asks(EffectType.ANSWER_USER, {"message": "hi"}), done=done)).run_id
    kernel.runtime.get_node_traces(run_id)["a"]["steps"][0]["result"]["message"] = "changed"
    assert steps(kernel, run_id)[0]["result"]["message"] == "hi"


# -- the lazy dict itself -------------------------------------------------------------------------


def lazy() -> tuple[Derived, list[int]]:
    reads: list[int] = []

    def source() -> dict[str, Any]:
        reads.append(1)
        return {"a": 1, "b": 2}

    return Derived(source), reads


@pytest.mark.parametrize(
    "read",
    [
        lambda d: d["a"] == 1,
        lambda d: d.get("b") == 2,
        lambda d: "a" in d,
        lambda d: list(d) == ["a", "b"],
        lambda d: list(reversed(d)) == ["b", "a"],
        lambda d: len(d) == 2,
        bool,
        lambda d: d == {"a": 1, "b": 2},
        lambda d: {"a": 1, "b": 2} == d,  # noqa: SIM300
        lambda d: d != {"a": 1},
        lambda d: repr(d) == "{'a': 1, 'b': 2}",
        lambda d: list(d.keys()) == ["a", "b"],
        lambda d: list(d.values()) == [1, 2],
        lambda d: dict(d.items()) == {"a": 1, "b": 2},
        lambda d: dict(d) == {"a": 1, "b": 2},
        lambda d: {**d} == {"a": 1, "b": 2},
        lambda d: d.copy() == {"a": 1, "b": 2},
        lambda d: d | {"c": 3} == {"a": 1, "b": 2, "c": 3},
        lambda d: {"c": 3} | d == {"a": 1, "b": 2, "c": 3},
        lambda d: json.dumps(d) == '{"a": 1, "b": 2}',
        lambda d: json.dumps(d, indent=1) == '{\n "a": 1,\n "b": 2\n}',
        lambda d: d.pop("a") == 1 and d == {"b": 2},
        lambda d: d.popitem() == ("b", 2),
        lambda d: d.setdefault("a", 5) == 1,
        lambda d: d.update(c=3) is None and d == {"a": 1, "b": 2, "c": 3},
        lambda d: d.__setitem__("c", 3) is None and d == {"a": 1, "b": 2, "c": 3},
        lambda d: d.__delitem__("a") is None and d == {"b": 2},
        lambda d: d.clear() is None and d == {},
        lambda d: deepcopy(d) == {"a": 1, "b": 2},
        lambda d: copy(d) == {"a": 1, "b": 2},
    ],
)
def test_derived_looks_like_a_dict_of_its_content(read: Any) -> None:
    derived, _ = lazy()
    assert read(derived)


def test_derived_reads_once_and_again_after_refresh() -> None:
    derived, reads = lazy()
    assert reads == []
    for _ in range(3):
        assert "a" in derived
    assert len(reads) == 1
    derived["a"] = 5
    derived.refresh()
    assert derived["a"] == 1
    assert len(reads) == 2


def test_derived_that_is_empty_is_read_once() -> None:
    reads: list[int] = []
    derived = Derived(lambda: reads.append(1) or {})
    for _ in range(3):
        assert not derived
    assert reads == [1]


def test_a_state_is_equal_to_itself_read_again_and_to_what_the_store_has(kernel: Kernel) -> None:
    tells = asks(EffectType.ANSWER_USER, {"message": "hi"}, then="b")
    workflow = flow(a=tells, b=asks(EffectType.ASK_USER, {"prompt": "?"}))
    run_id = kernel.go(workflow).run_id
    state = kernel.runtime.get_state(run_id)
    assert kernel.runtime.get_state(run_id) == state
    assert kernel.tick(workflow, run_id) == state  # it waits: nothing changes
    assert deepcopy(state) == state
    assert state.vars == kernel.runtime.get_state(run_id).vars
    stored = kernel.run_store.load(run_id)
    assert (stored == state, state == stored, stored.vars == state.vars) == (True, True, True)
    assert stored.to_dict() == state.to_dict()
    other = kernel.go(flow(a=tells, b=done))
    assert other.vars["_runtime"]["node_traces"] != state.vars["_runtime"]["node_traces"]
    assert state.vars["_runtime"]["node_traces"] != {"a": "else"}


# -- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "tokens"),
    [
        ({"usage": {"input_tokens": 7, "prompt_tokens": 8, "total_tokens": 9}}, 7),
        ({"usage": {"input_tokens": None, "prompt_tokens": "8"}}, 8),
        ({"usage": {"total_tokens": 9.9}}, 9),
        ({"usage": {"input_tokens": 0, "total_tokens": 9}}, 0),
        ({"usage": {"input_tokens": True}}, 5),
        ({"usage": {"input_tokens": "many"}}, 5),
        ({"usage": {}}, 5),
        ({"usage": [1]}, 5),
        ({}, 5),
        (None, 5),
    ],
)
def test_tokens_of_the_last_call(kernel: Kernel, result: Any, tokens: int) -> None:
    kernel.use(effect_handlers={LLM: lambda run, effect: EffectOutcome.completed(result)})
    workflow = flow(a=asks(LLM, key=None), done=done)
    run_id = kernel.start(workflow)
    kernel.runtime.update_limits(run_id, {"estimated_tokens_used": 5})
    assert kernel.tick(workflow, run_id).vars["_limits"]["estimated_tokens_used"] == tokens


def test_tokens_are_not_summed_and_count_on_reuse(kernel: Kernel) -> None:
    used = iter([10, 20])
    kernel.use(
        effect_handlers={
            LLM: lambda run, effect: EffectOutcome.completed({"usage": {"input_tokens": next(used)}})
        }
    )
    workflow = flow(a=asks(LLM, {"n": 1}, then="b"), b=asks(LLM, {"n": 2}, then="a"))
    run_id = kernel.start(workflow)
    counted = [
        kernel.tick(workflow, run_id, max_steps=1).vars["_limits"]["estimated_tokens_used"] for _ in range(3)
    ]
    assert counted == [10, 20, 10]


def test_only_llm_calls_count_tokens(kernel: Kernel) -> None:
    kernel.use(
        effect_handlers={
            EffectType.TOOL_CALLS: lambda run, effect: EffectOutcome.completed({"usage": {"input_tokens": 7}})
        }
    )
    state = kernel.go(flow(a=asks(EffectType.TOOL_CALLS), done=done))
    assert state.vars["_limits"]["estimated_tokens_used"] == 0
