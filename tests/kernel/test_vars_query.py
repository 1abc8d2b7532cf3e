"""VARS_QUERY (`spec/01 §12.7`)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from abstractruntime.core.models import EffectType

from .flows import asks, done, flow
from .kernel import Kernel
from .plain_stores import PlainLedgerStore, PlainRunStore

VARS = {"scratchpad": {"b": [1, 2], "a": "é"}, "n": 5, "f": 1.5, "t": True, "none": None}


def query(kernel: Kernel, payload: dict[str, Any], vars: dict[str, Any] | None = None) -> dict[str, Any]:
    state = kernel.go(flow(a=asks(EffectType.VARS_QUERY, payload), done=done), VARS if vars is None else vars)
    result = state.vars["out"]
    assert result["mode"] == "executed"
    (entry,) = result["results"]
    assert list(entry) == ["call_id", "name", "success", "output", "error"]
    return dict(entry)


def test_default_path_is_the_scratchpad(kernel: Kernel) -> None:
    for payload in ({}, {"path": " "}, {"path": None, "var_path": "scratchpad"}):
        entry = query(kernel, payload)
        assert entry["output"] == json.dumps(
            {"path": "scratchpad", "type": "dict", "value": VARS["scratchpad"]},
            indent=2,
            sort_keys=True,
            ensure_ascii=False,
        )
        assert (entry["call_id"], entry["name"]) == ("vars", "inspect_vars")
        assert (entry["success"], entry["error"]) == (True, None)


@pytest.mark.parametrize(
    ("path", "type_name", "value"),
    [
        ("scratchpad.b[1]", "int", 2),
        ("/scratchpad/b/0", "int", 1),
        ("scratchpad.b", "list", [1, 2]),
        ("scratchpad.a", "str", "é"),
        ("f", "float", 1.5),
        ("t", "bool", True),
        ("none", "NoneType", None),
    ],
)
def test_paths_and_types(kernel: Kernel, path: str, type_name: str, value: Any) -> None:
    shown = json.loads(query(kernel, {"var_path": path})["output"])
    assert shown == {"path": path, "type": type_name, "value": value}


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("scratchpad", {"type": "dict", "keys": ["a", "b"]}),
        ("scratchpad.b", {"type": "list", "length": 2}),
        ("n", {"type": "int", "value": 5}),
    ],
)
def test_keys_only(kernel: Kernel, path: str, shown: dict[str, Any]) -> None:
    output = json.loads(query(kernel, {"path": path, "keys_only": True})["output"])
    assert output == {"path": path, **shown}


def test_root(kernel: Kernel) -> None:
    output = json.loads(query(kernel, {"path": "/", "keys_only": True})["output"])
    names = {"_limits", "_runtime", "_temp", "context", "f", "n", "none", "scratchpad", "t"}
    assert set(output["keys"]) == names


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        ({"path": "scratchpad.x"}, "Missing key 'x' at scratchpad"),
        ({"path": "scratchpad.b[7]"}, "Index 7 out of range at scratchpad.b (len=2)"),
        ({"target_run_id": "nope"}, "Unknown target_run_id: nope"),
    ],
)
def test_errors_are_completed_results(kernel: Kernel, payload: Any, error: str) -> None:
    entry = query(kernel, {**payload, "tool_name": "look", "call_id": "c1"})
    assert entry == {"call_id": "c1", "name": "look", "success": False, "output": None, "error": error}


def test_another_run_with_its_traces(kernel: Kernel) -> None:
    other = kernel.go(
        flow("other", a=asks(EffectType.ANSWER_USER, {"message": "hi"}), done=done), {"x": "there"}
    )
    shown = json.loads(query(kernel, {"path": "x", "target_run_id": other.run_id})["output"])
    assert shown["value"] == "there"
    shown = json.loads(
        query(kernel, {"path": "/_runtime/node_traces/a", "target_run_id": other.run_id})["output"]
    )
    assert shown["value"]["steps"][0]["result"]["message"] == "hi"


def test_looking_changes_nothing(kernel: Kernel) -> None:
    state = kernel.go(flow(a=asks(EffectType.VARS_QUERY, {"path": "context"}, key=None), done=done), {"x": 1})
    assert set(kernel.state(state.run_id).vars) == {"x", "_limits", "_runtime"}


def test_values_without_json_form_are_shown_as_text() -> None:
    kernel = Kernel(PlainRunStore(), PlainLedgerStore())
    entry = query(kernel, {"path": "scratchpad"}, {"scratchpad": {1: {2}, "a": {3}}})
    assert json.loads(entry["output"])["value"] == {"1": "{2}", "a": "{3}"}
