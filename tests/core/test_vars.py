"""`spec/01 §6`: namespaces, paths, dotted result keys."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core import vars as v
from abstractruntime.core.errors import InvalidInputError

FOUR = ("context", "scratchpad", "_runtime", "_temp")


def test_constants() -> None:
    assert (v.CONTEXT, v.SCRATCHPAD, v.RUNTIME, v.TEMP) == FOUR
    assert (v.LIMITS, v.NODE_TRACES, v.DEFAULT_MAX_TOKENS) == ("_limits", "node_traces", 32768)


# --- namespaces ------------------------------------------------------------------------------------------


def test_ensure_namespaces_in_place() -> None:
    kept = {"task": "t"}
    data: dict[str, Any] = {"context": kept, "scratchpad": "no", "_temp": None, "other": 1}
    assert v.ensure_namespaces(data) is data
    assert data == {"context": {"task": "t"}, "scratchpad": {}, "_runtime": {}, "_temp": {}, "other": 1}
    assert data["context"] is kept


def test_getters_are_live() -> None:
    data: dict[str, Any] = {}
    for name, get in zip(FOUR, (v.get_context, v.get_scratchpad, v.get_runtime, v.get_temp), strict=True):
        get(data)["x"] = name
        assert data[name] == {"x": name}
        assert v.get_namespace(data, name) is get(data)


def test_get_namespace_knows_no_others() -> None:
    data: dict[str, Any] = {}
    with pytest.raises(KeyError):
        v.get_namespace(data, "nope")
    assert set(data) == set(FOUR)


def test_clear_temp_in_place() -> None:
    temp = {"a": 1}
    data: dict[str, Any] = {"_temp": temp}
    v.clear_temp(data)
    assert temp == {}
    assert data["_temp"] is temp


@pytest.mark.parametrize("bad", [{}, {"_limits": None}, {"_limits": [1]}, {"_limits": "x"}])
@pytest.mark.parametrize("get", [v.get_limits, v.ensure_limits])
def test_limits_default_when_missing_or_no_object(bad: dict[str, Any], get: Any) -> None:
    data = copy.deepcopy(bad)
    limits = get(data)
    assert data["_limits"] is limits
    assert limits == {
        "max_iterations": 25,
        "current_iteration": 0,
        "max_tokens": 32768,
        "max_output_tokens": None,
        "max_input_tokens": None,
        "max_history_messages": -1,
        "estimated_tokens_used": 0,
        "warn_iterations_pct": 80,
        "warn_tokens_pct": 80,
    }
    limits["max_iterations"] = 1
    assert v.default_limits()["max_iterations"] == 25


def test_existing_limits_are_kept_even_when_empty() -> None:
    own: dict[str, Any] = {}
    data = {"_limits": own}
    assert v.get_limits(data) is own
    assert own == {}


@pytest.mark.parametrize("runtime", [None, {}, {"node_traces": 5}, "x"])
def test_node_traces_are_created(runtime: Any) -> None:
    data: dict[str, Any] = {"_runtime": runtime}
    v.get_node_traces(data)["n"] = {"node_id": "n", "steps": [1]}
    assert v.get_node_trace(data, "n") is data["_runtime"]["node_traces"]["n"]


@pytest.mark.parametrize("data", [{}, {"_runtime": 5}, {"_runtime": {"node_traces": {"n": "bad"}}}])
def test_missing_trace_is_not_stored(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    assert v.get_node_trace(data, "n") == {"node_id": "n", "steps": []}
    assert data == before


# --- parsing paths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "tokens"),
    [
        (None, []),
        ("", []),
        ("  ", []),
        ("/", []),
        ("//", []),
        (".", []),
        ("a", ["a"]),
        (" a.b ", ["a", "b"]),
        ("a..b.", ["a", "b"]),
        ("a.0.b", ["a", 0, "b"]),
        ("a.007", ["a", 7]),
        ("a[0][12].b", ["a", 0, 12, "b"]),
        ("[3].a", [3, "a"]),
        ("a[x]", ["a", "x"]),
        ("a[ 1 ]", ["a", 1]),
        ("a[-1]", ["a", "-1"]),
        ("a.-1", ["a", "-1"]),
        ("a[]", ["a"]),
        ("a[0", ["a[0"]),
        ("a]0", ["a]0"]),
        ("a[0]b", ["a[0]b"]),
        ("/a/0/b", ["a", 0, "b"]),
        ("/a//b/", ["a", "b"]),
        ("/a~1b/c~0d", ["a/b", "c~d"]),
        ("/~01", ["~1"]),
        ("/a.b/c[0]", ["a.b", "c[0]"]),
        ("a/b", ["a/b"]),
        ("a.1.5", ["a", 1, 5]),
        ("²", ["²"]),
        ("٣", ["٣"]),
        ("1" * 5000, ["1" * 5000]),
    ],
)
def test_parse(path: str | None, tokens: list[Any]) -> None:
    parsed = v.parse_vars_path(path)
    assert parsed == tokens
    assert [isinstance(p, int) for p in parsed] == [isinstance(t, int) for t in tokens]


@given(st.text())
def test_parse_is_total(path: str) -> None:
    tokens = v.parse_vars_path(path)
    assert all(token != "" and not (isinstance(token, int) and token < 0) for token in tokens)


# --- resolving paths -------------------------------------------------------------------------------------

ROOT: dict[str, Any] = {
    "a": {"b": [10, {"c": None}]},
    "n": 5,
    "digits": {"0": "zero", "007": "bond", "7": "7"},
}


def _resolve(path: str) -> Any:
    return v.resolve_vars_path(ROOT, v.parse_vars_path(path))


def test_resolve() -> None:
    assert _resolve("/") is ROOT
    assert _resolve("a.b") is ROOT["a"]["b"]
    assert _resolve("a.b.0") == _resolve("a.b[0]") == _resolve("/a/b/0") == 10
    assert _resolve("a.b[1].c") is None
    assert v.resolve_vars_path([["x"]], [0, 0]) == "x"


def test_digits_fall_back_to_keys_of_objects() -> None:
    assert _resolve("digits.0") == _resolve("digits[0]") == _resolve("/digits/0") == "zero"
    assert _resolve("digits.007") == "bond"
    assert _resolve("digits.7") == "7"
    assert v.resolve_vars_path({"0": {"1": "x"}}, [0, 1]) == "x"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("0", "Expected list at (root) but found dict"),
        ("a.0", "Expected list at a but found dict"),
        ("n.0", "Expected list at n but found int"),
        ("a.b[1].c.0", "Expected list at a.b.1.c but found NoneType"),
        ("a.b.2", "Index 2 out of range at a.b (len=2)"),
        ("a.b.x", "Expected object at a.b but found list"),
        ("a.b[-1]", "Expected object at a.b but found list"),
        ("n.x", "Expected object at n but found int"),
        ("x", "Missing key 'x' at (root)"),
        ("a.x.y", "Missing key 'x' at a"),
        ("a.b.1.it's", "Missing key 'it's' at a.b.1"),
    ],
)
def test_resolve_errors(path: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        _resolve(path)
    assert str(caught.value) == message


def test_resolve_on_a_root_of_another_type() -> None:
    with pytest.raises(InvalidInputError, match=r"^Expected object at \(root\) but found NoneType$"):
        v.resolve_vars_path(None, ["a"])
    with pytest.raises(InvalidInputError, match=r"^Index -1 out of range at \(root\) \(len=1\)$"):
        v.resolve_vars_path([1], [-1])


json_trees = st.recursive(
    st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=1), inner, max_size=4),
    max_leaves=20,
)


def _pointers(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    found = [(prefix, value)]
    if isinstance(value, dict):
        for key, below in value.items():
            found += _pointers(below, f"{prefix}/{key.replace('~', '~0').replace('/', '~1')}")
    elif isinstance(value, list):
        for index, below in enumerate(value):
            found += _pointers(below, f"{prefix}/{index}")
    return found


@given(json_trees)
def test_every_value_is_reachable_by_json_pointer(tree: Any) -> None:
    for pointer, value in _pointers(tree):
        if pointer == pointer.strip():  # blanks around the whole path are not significant
            assert v.resolve_vars_path(tree, v.parse_vars_path(pointer)) is value


# --- dotted result keys ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "dotted", "after"),
    [
        ({}, "a", {"a": "V"}),
        ({}, "a.b.c", {"a": {"b": {"c": "V"}}}),
        ({"a": {"x": 1}}, "a.b", {"a": {"x": 1, "b": "V"}}),
        ({"a": 5}, "a.b", {"a": {"b": "V"}}),
        ({"a": [1]}, "a.0", {"a": {"0": "V"}}),
        ({"a": None}, "a.b", {"a": {"b": "V"}}),
        ({"a": {"b": {"c": 1}}}, "a.b", {"a": {"b": "V"}}),
        ({}, "a[0]", {"a[0]": "V"}),
        ({}, "a..b", {"a": {"": {"b": "V"}}}),
        ({}, "a.", {"a": {"": "V"}}),
        ({}, "/a/b", {"/a/b": "V"}),
    ],
)
def test_set_result_path(before: dict[str, Any], dotted: str, after: dict[str, Any]) -> None:
    data = copy.deepcopy(before)
    v.set_result_path(data, dotted, "V")
    assert data == after


def test_set_result_path_keeps_live_parents_and_the_value() -> None:
    inner: dict[str, Any] = {}
    value = ["x"]
    v.set_result_path({"a": inner}, "a.b", value)
    assert inner["b"] is value


def test_empty_result_key_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="result_key is empty"):
        v.set_result_path({}, "", 1)


@given(st.lists(st.text(alphabet="abcde", min_size=1), min_size=1), st.integers())
def test_what_is_set_is_found(names: list[str], value: int) -> None:
    data: dict[str, Any] = {}
    v.set_result_path(data, ".".join(names), value)
    assert v.resolve_vars_path(data, v.parse_vars_path(".".join(names))) == value
    assert json.loads(json.dumps(data)) == data
