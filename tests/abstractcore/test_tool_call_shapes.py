"""Tool calls in one shape, whatever the provider wrote (`spec/04 §3`)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.llm_client import normalise_tool_calls, parse_text_tool_calls


def call(name: str, arguments: dict[str, Any], call_id: str | None) -> dict[str, Any]:
    return {"name": name, "arguments": arguments, "call_id": call_id}


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"name": " add ", "arguments": {"a": 1}, "call_id": "c"}, call("add", {"a": 1}, "c")),
        ({"name": "add", "arguments": {"a": 1}, "id": 7}, call("add", {"a": 1}, "7")),
        ({"name": "add", "call_id": "c", "id": "i"}, call("add", {}, "c")),
        (
            {"id": "i", "function": {"name": "add", "arguments": '{"a": {"b": [1]}}'}},
            call("add", {"a": {"b": [1]}}, "i"),
        ),
        (SimpleNamespace(name="add", arguments={"a": 1}, call_id=None), call("add", {"a": 1}, None)),
        (
            SimpleNamespace(id="i", function=SimpleNamespace(name="add", arguments='{"a": 1}')),
            call("add", {"a": 1}, "i"),
        ),
    ],
)
def test_shapes(given: Any, wanted: dict[str, Any]) -> None:
    assert normalise_tool_calls([given]) == [wanted]


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ('{"a": true}', {"a": True}),
        ("{'a': True, 'b': None}", {"a": True, "b": None}),
        ("{'a': true, 'b': null, 'c': 'true'}", {"a": True, "b": None, "c": "true"}),
        ("[1, 2]", {}),
        ("add(1)", {}),
        ("", {}),
        ([1], {}),
        (None, {}),
        (5, {}),
    ],
)
def test_arguments(arguments: Any, wanted: dict[str, Any]) -> None:
    assert normalise_tool_calls([{"name": "t", "arguments": arguments}]) == [call("t", wanted, None)]


@pytest.mark.parametrize(
    "calls", [None, "add", {}, [], [{"arguments": {}}], [{"name": "  "}], [None, 3, "x"]]
)
def test_nothing_usable_is_none(calls: Any) -> None:
    assert normalise_tool_calls(calls) is None


def test_the_usable_ones_are_kept_in_order() -> None:
    calls = normalise_tool_calls([{"name": "a"}, {"name": ""}, {"name": "b"}])
    assert calls is not None
    assert [entry["name"] for entry in calls] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ('<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', ""),
        ('<|tool_call|>{"name": "add", "arguments": {"a": 1}}</|tool_call|>', ""),
        ("tool: [add]: {'a': 1}", ""),
        ('tool: [add]: {\n  "a": 1\n}', ""),
        ('So:\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>', "So:"),
    ],
)
def test_calls_in_text(text: str, left: str) -> None:
    pytest.importorskip("abstractcore", reason="AbstractCore finds the calls")
    calls, remaining = parse_text_tool_calls(text, model="echo-1")
    assert calls == [call("add", {"a": 1}, None)]
    assert remaining is not None
    assert remaining.strip() == left


def test_text_without_an_allowed_call() -> None:
    pytest.importorskip("abstractcore", reason="AbstractCore finds the calls")
    text = '<tool_call>{"name": "add", "arguments": {}}</tool_call>'
    assert parse_text_tool_calls(text, model="echo-1", allowed_tools=["other"]) == (None, None)
    assert parse_text_tool_calls(text, model="echo-1", allowed_tools=["add"])[0] == [call("add", {}, None)]
    assert parse_text_tool_calls("just text", model="echo-1") == (None, None)
    assert parse_text_tool_calls(None, model="echo-1") == (None, None)
