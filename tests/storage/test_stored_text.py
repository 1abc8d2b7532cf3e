"""Runs and records put together as text are exactly what the standard library makes of their dicts."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.derived import Derived
from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, RunStatus, StepRecord, StepStatus, WaitReason, WaitState
from abstractruntime.storage.stored_text import record_text, state_lines, state_text

texts = st.text(st.characters(exclude_categories=["Cs"]))
optional = st.none() | texts
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=10)
objects = st.dictionaries(texts, values)

records = st.builds(
    StepRecord,
    run_id=texts,
    step_id=texts,
    node_id=texts,
    status=st.sampled_from(StepStatus),
    effect=st.none() | objects,
    result=st.none() | objects,
    error=optional,
    started_at=texts,
    ended_at=optional,
    actor_id=optional,
    session_id=optional,
    attempt=st.integers(),
    idempotency_key=optional,
    prev_hash=optional,
    record_hash=optional,
    signature=optional,
)
waits = st.builds(
    WaitState,
    reason=st.sampled_from(WaitReason),
    wait_key=optional,
    choices=st.none() | st.lists(texts),
    details=st.none() | objects,
)
runs = st.builds(
    RunState,
    run_id=texts,
    workflow_id=texts,
    status=st.sampled_from(RunStatus),
    current_node=texts,
    vars=objects,
    waiting=st.none() | waits,
    output=st.none() | objects,
    error=optional,
    created_at=texts,
    updated_at=texts,
    actor_id=optional,
    session_id=optional,
    parent_run_id=optional,
)
RECORD = StepRecord(run_id="r", step_id="s", node_id="n", status=StepStatus.STARTED)
RUN = RunState(run_id="r", workflow_id="w", status=RunStatus.RUNNING, current_node="n")


def standard(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def indented(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


@given(records)
def test_a_record_is_as_its_dict(record: StepRecord) -> None:
    assert record_text(record) == standard(record.to_dict())


@given(runs)
def test_a_run_is_as_its_dict(run: RunState) -> None:
    assert state_text(run) == standard(run.to_dict())
    assert state_lines(run) == indented(run.to_dict())


class Colour(str, Enum):
    RED = "red"


ODD: list[Any] = [1, True, None, 1.5, Colour.RED, ["a"], {"a": (1, 2)}, {1: 2}, "é"]


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("name", [field.name for field in fields(StepRecord) if field.name != "status"])
def test_so_is_a_record_with_a_field_of_another_type(name: str, odd: Any) -> None:
    record = replace(RECORD, **{name: odd})
    assert record_text(record) == standard(record.to_dict())


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(
    "name", [field.name for field in fields(RunState) if field.name not in ("status", "waiting", "vars")]
)
def test_so_is_a_run_with_a_field_of_another_type(name: str, odd: Any) -> None:
    run = replace(RUN, **{name: odd})
    assert state_text(run) == standard(run.to_dict())
    assert state_lines(run) == indented(run.to_dict())


@pytest.mark.parametrize("odd", [(1, [2, {"a": "b\nc"}]), {1: {"a": [None]}}, Colour.RED, [{"a": (1.5,)}]])
def test_so_is_a_run_with_values_of_other_types(odd: Any) -> None:
    for run in (replace(RUN, vars={"odd": odd, "n": 1}), replace(RUN, output={"odd": odd})):
        assert state_text(run) == standard(run.to_dict())
        assert state_lines(run) == indented(run.to_dict())


def test_what_is_as_usual_needs_no_dict(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick way is the one taken: whatever goes wrong in it would go the slow way in silence."""
    run = replace(RUN, vars={"odd": (1, 2), "wait": {}}, waiting=WaitState(reason=WaitReason.EVENT))
    record = replace(RECORD, effect={"type": "llm_call"}, result={"a": (1,)})
    made = [record_text(record), state_text(run), state_lines(run)]
    for kind in (RunState, StepRecord):
        monkeypatch.delattr(kind, "to_dict")
    assert [record_text(record), state_text(run), state_lines(run)] == made


class Signed(StepRecord):
    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "signed_by": "us"}


class Coloured(RunState):
    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "colour": "red"}


def test_a_host_s_own_kind_has_its_own_dict() -> None:
    assert json.loads(record_text(Signed(**RECORD.__dict__)))["signed_by"] == "us"
    for text in (state_text, state_lines):
        assert json.loads(text(Coloured(**RUN.__dict__)))["colour"] == "red"


def test_computed_views_are_not_stored() -> None:
    run = replace(RUN, vars={"_runtime": {"node_traces": Derived(lambda: {"n": {}})}})
    for text in (state_text, state_lines):
        assert json.loads(text(run))["vars"] == {"_runtime": {"node_traces": {}}}


def test_lone_surrogates_are_kept_as_escapes() -> None:
    assert json.loads(record_text(replace(RECORD, error="\ud83d")))["error"] == "\ud83d"
    assert json.loads(state_text(replace(RUN, vars={"a": "\ud83d"})))["vars"] == {"a": "\ud83d"}
    record_text(replace(RECORD, error="\ud83d")).encode()


RING: list[Any] = []
RING.append(RING)


@pytest.mark.parametrize(("bad", "error"), [(object(), TypeError), (RING, InvalidInputError)])
def test_what_has_no_json_form_is_refused(bad: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"a ledger record of run 'r' \(node 'n'\) can't be stored as JSON"):
        record_text(replace(RECORD, result={"a": bad}))
    for text in (state_text, state_lines):
        with pytest.raises(error, match="run 'r' can't be stored as JSON"):
            text(replace(RUN, vars={"a": bad}))
