"""`spec/01 §3`: the workflow spec and the node contract."""

from __future__ import annotations

import copy
import dataclasses
import pickle

import pytest

from abstractruntime.core.errors import RuntimeFault
from abstractruntime.core.models import RunState, StepPlan
from abstractruntime.core.spec import RunContext, UnknownNodeError, WorkflowSpec


def _node(run: RunState, ctx: RunContext) -> StepPlan:
    return StepPlan("a", complete_output={"now": ctx.now_iso()})


def test_positional_fields_and_lookup() -> None:
    spec = WorkflowSpec("wf", "a", {"a": _node})
    assert (spec.workflow_id, spec.entry_node) == ("wf", "a")
    assert spec.get_node("a") is _node


def test_spec_is_frozen() -> None:
    spec = WorkflowSpec("wf", "a", {"a": _node})
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.entry_node = "b"  # type: ignore[misc]


def test_unknown_node_says_which_and_where() -> None:
    spec = WorkflowSpec(workflow_id="wf", entry_node="a", nodes={})
    with pytest.raises(KeyError) as caught:
        spec.get_node("nope")
    text = "Unknown node_id 'nope' in workflow 'wf'"
    assert caught.value.args == (text,)
    assert str(caught.value) == text  # not the repr that KeyError prints
    assert isinstance(caught.value, RuntimeFault)


def test_unknown_node_error_survives_copy_and_pickle() -> None:
    error = UnknownNodeError("n", "w")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.node_id, twin.workflow_id) == (str(error), "n", "w")


@pytest.mark.parametrize("node", ["a", "missing", ""])
def test_no_node_is_terminal_by_itself(node: str) -> None:
    assert WorkflowSpec("wf", "a", {"a": _node}).is_terminal(node) is False


def test_entry_node_is_not_checked() -> None:
    assert WorkflowSpec("wf", "ghost", {}).entry_node == "ghost"


def test_any_object_with_now_iso_is_a_context() -> None:
    class Host:
        def now_iso(self) -> str:
            return "t"

    assert isinstance(Host(), RunContext)
    assert not isinstance(object(), RunContext)
    plan = WorkflowSpec("wf", "a", {"a": _node}).get_node("a")(
        RunState.new(workflow_id="wf", entry_node="a"), Host()
    )
    assert plan.complete_output == {"now": "t"}
