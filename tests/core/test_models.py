"""`spec/01 §2` and `spec/02 §3`: the data model and its stored form."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core import models as m
from abstractruntime.core.outcome import EffectOutcome

NOW = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?\+00:00")

ENUMS: list[tuple[type[enum.Enum], dict[str, str]]] = [
    (
        m.RunStatus,
        {
            "RUNNING": "running",
            "WAITING": "waiting",
            "COMPLETED": "completed",
            "FAILED": "failed",
            "CANCELLED": "cancelled",
        },
    ),
    (
        m.WaitReason,
        {"EVENT": "event", "UNTIL": "until", "USER": "user", "JOB": "job", "SUBWORKFLOW": "subworkflow"},
    ),
    (
        m.StepStatus,
        {"STARTED": "started", "COMPLETED": "completed", "WAITING": "waiting", "FAILED": "failed"},
    ),
    (
        m.EffectType,
        {
            name.upper(): name
            for name in (
                "wait_event",
                "wait_until",
                "ask_user",
                "answer_user",
                "emit_event",
                "llm_call",
                "tool_calls",
                "memory_query",
                "memory_tag",
                "memory_compact",
                "memory_note",
                "memory_rehydrate",
                "memory_kg_assert",
                "memory_kg_query",
                "memory_kg_resolve",
                "vars_query",
                "start_subworkflow",
            )
        },
    ),
]


def _run(**changes: Any) -> m.RunState:
    run = m.RunState.new(workflow_id="wf", entry_node="a", actor_id="ar_1", session_id="s1")
    return dataclasses.replace(run, **changes)


def _defaults(cls: Any) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        if field.default is not dataclasses.MISSING:
            out[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            out[field.name] = field.default_factory()
        else:
            out[field.name] = "required"
    return out


# --- enums -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "members"), ENUMS)
def test_enum_members(cls: type[enum.Enum], members: dict[str, str]) -> None:
    assert {member.name: member.value for member in cls} == members
    for member in cls:
        assert isinstance(member, str)
        assert member == member.value
        assert json.dumps(member) == f'"{member.value}"'
        assert cls(member.value) is member


def test_terminal_statuses() -> None:
    assert {status.value for status in m.TERMINAL_STATUSES} == {"completed", "failed", "cancelled"}
    assert [_run(status=s).is_terminal for s in m.RunStatus] == [False, False, True, True, True]


# --- plain shapes ----------------------------------------------------------------------------------------


def test_effect() -> None:
    assert _defaults(m.Effect) == {"type": "required", "payload": {}, "result_key": None}
    assert m.Effect(m.EffectType.LLM_CALL, {"p": 1}, "a.b").result_key == "a.b"
    assert m.Effect(m.EffectType.LLM_CALL).payload is not m.Effect(m.EffectType.LLM_CALL).payload


def test_step_plan() -> None:
    assert _defaults(m.StepPlan) == {
        "node_id": "required",
        "effect": None,
        "next_node": None,
        "complete_output": None,
    }


FROZEN = [
    m.Effect(m.EffectType.LLM_CALL, {"prompt": "?"}, "answer"),
    m.StepPlan("n", m.Effect(m.EffectType.LLM_CALL), "next"),
    EffectOutcome.failed("no", kind="validation"),
]


@pytest.mark.parametrize("value", FROZEN)
@pytest.mark.parametrize("name", ["field", "unknown"])
def test_what_a_step_is_made_of_is_frozen(value: Any, name: str) -> None:
    name = dataclasses.fields(value)[0].name if name == "field" else "no_field"
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
        setattr(value, name, "x")
    with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
        delattr(value, name)


@pytest.mark.parametrize("value", FROZEN)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, dataclasses.replace, lambda value: pickle.loads(pickle.dumps(value))]
)
def test_what_a_step_is_made_of_can_be_copied(value: Any, copied: Callable[[Any], Any]) -> None:
    twin = copied(value)
    assert type(twin) is type(value)
    assert dataclasses.asdict(twin) == dataclasses.asdict(value)
    assert twin == value


def test_a_subclass_may_have_attributes_of_its_own() -> None:
    class Marked(m.Effect):
        def __init__(self, mark: str) -> None:
            super().__init__(m.EffectType.LLM_CALL)
            self.mark = mark

    effect = Marked("x")
    assert (effect.mark, effect.payload) == ("x", {})
    del effect.mark
    with pytest.raises(dataclasses.FrozenInstanceError):
        effect.payload = {}  # type: ignore[misc]


def test_wait_state_shape() -> None:
    assert _defaults(m.WaitState) == {
        "reason": "required",
        "wait_key": None,
        "until": None,
        "resume_to_node": None,
        "result_key": None,
        "prompt": None,
        "choices": None,
        "allow_free_text": True,
        "details": None,
    }
    wait = m.WaitState(m.WaitReason.EVENT)
    wait.wait_key = "k"
    assert wait.to_dict()["wait_key"] == "k"


def test_run_state_shape() -> None:
    defaults = _defaults(m.RunState)
    assert NOW.fullmatch(defaults.pop("created_at"))
    assert NOW.fullmatch(defaults.pop("updated_at"))
    assert defaults == {
        "run_id": "required",
        "workflow_id": "required",
        "status": "required",
        "current_node": "required",
        "vars": {},
        "waiting": None,
        "output": None,
        "error": None,
        "actor_id": None,
        "session_id": None,
        "parent_run_id": None,
    }
    assert m.RunState("r", "w", m.RunStatus.RUNNING, "n", {"x": 1}).vars == {"x": 1}


def test_step_record_shape() -> None:
    names = [field.name for field in dataclasses.fields(m.StepRecord)]
    assert names == [
        "run_id",
        "step_id",
        "node_id",
        "status",
        "effect",
        "result",
        "error",
        "started_at",
        "ended_at",
        "actor_id",
        "session_id",
        "attempt",
        "idempotency_key",
        "prev_hash",
        "record_hash",
        "signature",
    ]
    assert list(m.StepRecord("r", "s", "n", m.StepStatus.STARTED).to_dict()) == names
    assert _defaults(m.StepRecord)["attempt"] == 1


# --- runs ------------------------------------------------------------------------------------------------


def test_new_run() -> None:
    run = _run()
    assert str(UUID(run.run_id)) == run.run_id
    assert UUID(run.run_id).version == 4
    assert len(run.run_id) == 36
    assert (run.workflow_id, run.status, run.current_node, run.vars) == ("wf", m.RunStatus.RUNNING, "a", {})
    assert (run.actor_id, run.session_id, run.parent_run_id) == ("ar_1", "s1", None)
    assert run.run_id != _run().run_id


def test_new_run_keeps_the_vars_it_was_given() -> None:
    data = {"a": 1}
    assert m.RunState.new(workflow_id="w", entry_node="a", vars=data).vars is data


def test_run_round_trip_through_json() -> None:
    wait = m.WaitState(
        m.WaitReason.USER, "k", "u", "n", "a.b", "Q?", ["x"], allow_free_text=False, details={"d": 1}
    )
    run = _run(
        vars={"é": [1]}, waiting=wait, status=m.RunStatus.WAITING, output={}, error="e", parent_run_id="p"
    )
    stored = json.loads(json.dumps(run.to_dict()))
    assert list(stored) == [
        "run_id",
        "workflow_id",
        "status",
        "current_node",
        "vars",
        "waiting",
        "output",
        "error",
        "created_at",
        "updated_at",
        "actor_id",
        "session_id",
        "parent_run_id",
    ]
    assert stored["waiting"]["reason"] == "user"
    back = m.RunState.from_dict({**stored, "unknown": 1})
    assert back == run
    assert isinstance(back.status, m.RunStatus)
    assert back.waiting is not None
    assert isinstance(back.waiting.reason, m.WaitReason)


@pytest.mark.parametrize("waiting", [None, "text", [1], 0])
def test_a_wait_that_is_no_object_counts_as_none(waiting: Any) -> None:
    assert m.RunState.from_dict({**_run().to_dict(), "waiting": waiting}).waiting is None


@pytest.mark.parametrize("waiting", [{}, {"wait_key": "k"}, {"reason": None}])
def test_a_wait_without_reason_is_an_error(waiting: Any) -> None:
    with pytest.raises(ValueError, match=r"^Persisted waiting state missing 'reason'$"):
        m.RunState.from_dict({**_run().to_dict(), "waiting": waiting})


@pytest.mark.parametrize("change", [{"status": "dozing"}, {"waiting": {"reason": "boredom"}}])
def test_unknown_enum_values_are_errors(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is not a valid"):
        m.RunState.from_dict({**_run().to_dict(), **change})


@pytest.mark.parametrize("name", ["run_id", "workflow_id", "status", "current_node"])
def test_required_keys(name: str) -> None:
    stored = _run().to_dict()
    del stored[name]
    with pytest.raises(KeyError, match=name):
        m.RunState.from_dict(stored)


def test_optional_keys_of_a_stored_run() -> None:
    run = m.RunState.from_dict(
        {
            "run_id": "r",
            "workflow_id": "w",
            "status": "waiting",
            "current_node": "n",
            "vars": None,
            "waiting": {"reason": "event"},
        }
    )
    assert run.vars == {}
    assert run.waiting == m.WaitState(m.WaitReason.EVENT)
    assert run.updated_at == run.created_at


# --- records ---------------------------------------------------------------------------------------------


def test_the_text_of_an_enum_stands_for_its_member() -> None:
    wait = {"reason": "until", "until": "2030-01-01T00:00:00+00:00"}
    run = m.RunState("r", "w", "waiting", "a", waiting=wait)  # type: ignore[arg-type]
    assert (run.status, run.waiting) == (
        m.RunStatus.WAITING,
        m.WaitState(m.WaitReason.UNTIL, until=wait["until"]),
    )
    assert type(run.status) is m.RunStatus
    assert m.RunState(**run.to_dict()) == run
    assert type(m.WaitState("user").reason) is m.WaitReason  # type: ignore[arg-type]
    record = m.StepRecord("r", "s", "a", "failed")  # type: ignore[arg-type]
    assert record.status is m.StepStatus.FAILED
    assert m.StepRecord(**record.to_dict()) == record
    assert m.Effect("ask_user", {}).type is m.EffectType.ASK_USER  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: m.RunState("r", "w", "gone", "a"),  # type: ignore[arg-type]
        lambda: m.RunState("r", "w", m.RunStatus.WAITING, "a", waiting={}),  # type: ignore[arg-type]
        lambda: m.WaitState("gone"),  # type: ignore[arg-type]
        lambda: m.StepRecord("r", "s", "a", "gone"),  # type: ignore[arg-type]
        lambda: m.Effect("gone"),  # type: ignore[arg-type]
    ],
)
def test_text_that_stands_for_nothing_is_an_error(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"gone' is not a valid|missing 'reason'"):
        make()


def test_start_with_an_effect() -> None:
    run = _run()
    effect = m.Effect(m.EffectType.LLM_CALL, {"p": 1}, "out")
    record = m.StepRecord.start(run=run, node_id="n", effect=effect, attempt=2, idempotency_key="k")
    assert UUID(record.step_id).version == 4
    assert record.effect == {"type": "llm_call", "payload": {"p": 1}, "result_key": "out"}
    assert type(record.effect["type"]) is str
    assert (record.run_id, record.node_id, record.status) == (run.run_id, "n", "started")
    assert (record.actor_id, record.session_id) == ("ar_1", "s1")
    assert (record.attempt, record.idempotency_key, record.ended_at) == (2, "k", None)
    assert NOW.fullmatch(record.started_at)


def test_start_without_effect() -> None:
    record = m.StepRecord.start(run=_run(), node_id="n", effect=None)
    assert (record.effect, record.attempt, record.idempotency_key) == (None, 1, None)


def _started() -> m.StepRecord:
    return m.StepRecord.start(run=_run(), node_id="n", effect=None)


def test_finish_success() -> None:
    record = _started()
    assert record.finish_success({"a": 1}) is record
    assert (record.status, record.result, record.error) == (m.StepStatus.COMPLETED, {"a": 1}, None)
    assert record.ended_at is not None
    assert record.ended_at >= record.started_at
    assert _started().finish_success().result is None


def test_finish_waiting_always_has_nine_keys() -> None:
    record = _started()
    assert record.finish_waiting(m.WaitState(m.WaitReason.EVENT, wait_key="k")) is record
    assert record.status is m.StepStatus.WAITING
    assert record.ended_at is not None
    assert record.result == {
        "wait": {
            "reason": "event",
            "wait_key": "k",
            "until": None,
            "resume_to_node": None,
            "result_key": None,
            "prompt": None,
            "choices": None,
            "allow_free_text": True,
            "details": None,
        }
    }
    assert type(record.result["wait"]["reason"]) is str


def test_finish_failure_leaves_the_result() -> None:
    record = _started()
    record.result = {"partial": 1}
    assert record.finish_failure("boom") is record
    assert (record.status, record.error, record.result) == (m.StepStatus.FAILED, "boom", {"partial": 1})
    assert record.ended_at is not None


def test_record_as_a_dict_is_plain_json() -> None:
    stored = _started().finish_success({"a": 1}).to_dict()
    assert stored["status"] == "completed"
    assert type(stored["status"]) is str
    assert json.loads(json.dumps(stored)) == stored


# --- limits and time -------------------------------------------------------------------------------------


def test_limit_warning_reference_value() -> None:
    warning = m.LimitWarning("iterations", "warning", 20, 25)
    assert warning.pct == 80.0
    assert m.LimitWarning("tokens", "exceeded", 1, 3).pct == 33.3


@pytest.mark.parametrize("maximum", [0, -1])
def test_limit_warning_keeps_the_given_percentage_without_a_maximum(maximum: int) -> None:
    assert m.LimitWarning("tokens", "warning", 1, maximum, 12.5).pct == 12.5
    assert m.LimitWarning("tokens", "warning", 1, maximum).pct == 0.0


@given(current=st.integers(0, 10**9), maximum=st.integers(1, 10**9))
def test_limit_warning_percentage_wins_over_the_given_one(current: int, maximum: int) -> None:
    assert m.LimitWarning("tokens", "warning", current, maximum, -1.0).pct == round(
        current / maximum * 100, 1
    )


def test_utc_now() -> None:
    assert m.utc_now().utcoffset() == timedelta()
    assert NOW.fullmatch(m.utc_now_iso())
