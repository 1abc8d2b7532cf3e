"""`spec/03 §16.1`: stringify_json."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.rendering import JsonStringifyMode, stringify_json

VALUE = {"a": 1, "b": [2, 3]}


class Color(str, Enum):
    RED = "red"


class Thing:
    def __str__(self) -> str:
        return "a thing"


def minified(value: object, **options: Any) -> str:
    return stringify_json(value, mode=JsonStringifyMode.MINIFIED, **options)


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (JsonStringifyMode.NONE, '{"a": 1, "b": [2, 3]}'),
        (" None ", '{"a": 1, "b": [2, 3]}'),
        ("MINIFIED", '{"a":1,"b":[2,3]}'),
        ("beautify", '{\n  "a": 1,\n  "b": [\n    2,\n    3\n  ]\n}'),
        (None, '{\n  "a": 1,\n  "b": [\n    2,\n    3\n  ]\n}'),
        ("what?", '{\n  "a": 1,\n  "b": [\n    2,\n    3\n  ]\n}'),
    ],
)
def test_modes(mode: Any, text: str) -> None:
    assert stringify_json(VALUE, mode=mode) == text


@pytest.mark.parametrize(
    ("indent", "second_line"), [(4, "    1"), (0, "1"), (-1, "  1"), ("x", "  1"), (True, "  1")]
)
def test_indent(indent: Any, second_line: str) -> None:
    assert stringify_json([1], beautify_indent=indent).splitlines()[1] == second_line


def test_values_become_json_safe() -> None:
    value = {1: (2, "ü"), Color.RED: Thing(), None: {3}, "n": [float("nan"), float("-inf"), 1.5]}
    assert minified(value) == '{"1":[2,"ü"],"red":"a thing","None":"{3}","n":[null,null,1.5]}'
    assert minified({"b": 1, "a": 2}, sort_keys=True) == '{"a":2,"b":1}'


def test_a_value_inside_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    assert minified(loop) == '["<cycle>"]'
    assert "<max_depth>" in minified(deep)


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ('{"a": 1}', '{"a":1}'),
        ('```json\n{"a": 1}\n```', '{"a":1}'),
        ('```{"a": 1}```', '{"a":1}'),
        ('say {"a":1} ok', '{"a":1}'),
        ("{not} [1, 2] {'b'}", "[1,2]"),
        ("{'a': (1, True)}", '{"a":[1,true]}'),
        ("123", "123"),
        ("True", "true"),
        ("null", '"null"'),
        ("None", '"None"'),
        ("...", '"..."'),
        ("plain text", '"plain text"'),
        ("__import__('os').getcwd()", "\"__import__('os').getcwd()\""),
        ("   ", '"   "'),
        ('{"a": NaN}', '{"a":null}'),
        ("{" * 64 + ' {"a": 1}', '"' + "{" * 64 + ' {\\"a\\": 1}"'),
    ],
)
def test_text_is_parsed(text: str, rendered: str) -> None:
    assert minified(text) == rendered


def test_text_stays_text_on_demand() -> None:
    assert stringify_json("123", parse_strings=False) == '"123"'


@settings(deadline=None)  # a busy machine is no error
@given(
    st.text() | st.recursive(st.floats() | st.text(), st.lists) | st.dictionaries(st.integers(), st.floats())
)
def test_the_result_is_json(value: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    for mode in JsonStringifyMode:
        json.loads(stringify_json(value, mode=mode), parse_constant=refuse)
