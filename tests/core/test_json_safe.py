"""JSON-safe rendering of outputs (`spec/01 §10.14`)."""

from __future__ import annotations

import copy
import dataclasses
import datetime
import decimal
import enum
import json
import types
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, RootModel

from abstractruntime.core.json_safe import json_safe


class Colour(enum.Enum):
    RED = 1


class Mood(str, enum.Enum):
    CALM = "calm"


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Inner:
    when: datetime.date


@dataclasses.dataclass
class Outer:
    inner: Inner
    items: list[Any]


class Model(BaseModel):
    when: datetime.date
    tags: list[str] = []


class WithToDict:
    def __init__(self, data: Any) -> None:
        self.data = data

    def to_dict(self) -> Any:
        return self.data

    def __str__(self) -> str:
        return "with-to-dict"


DAY = datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (5, 5),
        (1.5, 1.5),
        ("é", "é"),
        ([], []),
        ((1, (2,)), [1, [2]]),
        (Point(1, 2), [1, 2]),
        ({1: "a", None: "b", False: "c", ("t",): "d"}, {"1": "a", "None": "b", "False": "c", "('t',)": "d"}),
        ({Mood.CALM: Mood.CALM}, {"calm": "calm"}),
        (DAY, "2026-01-02"),
        ({5}, "{5}"),
        (b"x", "b'x'"),
        (decimal.Decimal("1.50"), "1.50"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Colour.RED, "Colour.RED"),
        (int, "<class 'int'>"),
        (Outer, str(Outer)),
        (Model, str(Model)),
        (Outer(Inner(DAY), [{1: DAY}]), {"inner": {"when": "2026-01-02"}, "items": [{"1": "2026-01-02"}]}),
        (Model(when=DAY, tags=["t"]), {"when": "2026-01-02", "tags": ["t"]}),
        (RootModel[list[int]]([1, 2]), [1, 2]),
        (WithToDict({"a": DAY}), {"a": "2026-01-02"}),
        (WithToDict([DAY]), ["2026-01-02"]),
        (WithToDict(5), 5),
        (WithToDict(object()), "with-to-dict"),
        (types.SimpleNamespace(to_dict="no method"), "namespace(to_dict='no method')"),
    ],
)
def test_rendering(value: Any, expected: Any) -> None:
    rendered = json_safe(value)
    assert rendered == expected
    json.dumps(rendered)


def test_model_dump_comes_before_to_dict() -> None:
    class Both(WithToDict):
        def model_dump(self) -> Any:
            return {"from": "model_dump"}

    assert json_safe(Both({"from": "to_dict"})) == {"from": "model_dump"}


def test_conversion_errors_are_not_hidden() -> None:
    class Broken:
        def to_dict(self) -> Any:
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        json_safe([Broken()])


def test_cycles() -> None:
    data: dict[str, Any] = {"n": 1}
    data["self"] = data
    data["list"] = [data]
    assert json_safe(data) == {"n": 1, "self": "<cycle>", "list": ["<cycle>"]}
    items: list[Any] = []
    items.append(items)
    assert json_safe(items) == ["<cycle>"]


def test_cycle_through_objects() -> None:
    thing = WithToDict({})
    thing.data = {"me": thing}
    assert json_safe(thing) == {"me": "<cycle>"}
    outer = Outer(Inner(DAY), [])
    outer.items.append(outer)
    assert json_safe(outer)["items"] == ["<cycle>"]


def test_the_same_value_twice_is_no_cycle() -> None:
    shared = {"a": 1}
    rendered = json_safe([shared, shared, {"x": shared}])
    assert rendered == [{"a": 1}, {"a": 1}, {"x": {"a": 1}}]


def _nested(levels: int) -> Any:
    value: Any = "leaf"
    for _ in range(levels):
        value = [value]
    return value


def _depth_of(value: Any) -> tuple[int, Any]:
    depth = 0
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    return depth, value


@pytest.mark.parametrize(("levels", "expected"), [(200, (200, "leaf")), (201, (201, "<max_depth>"))])
def test_depth(levels: int, expected: tuple[int, str]) -> None:
    assert _depth_of(json_safe(_nested(levels))) == expected


def test_objects_that_unfold_for_ever_end() -> None:
    class Endless:
        def to_dict(self) -> dict[str, Any]:
            return {"next": Endless()}

    assert "<max_depth>" in json.dumps(json_safe(Endless()))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=25,
)


def _scribble(value: Any) -> None:
    if isinstance(value, dict):
        for below in value.values():
            _scribble(below)
        value["scribble"] = 1
    elif isinstance(value, list):
        for below in value:
            _scribble(below)
        value.append("scribble")


@given(json_values)
def test_json_is_copied_deeply_and_unchanged(value: Any) -> None:
    before = copy.deepcopy(value)
    rendered = json_safe(value)
    assert rendered == before
    _scribble(rendered)
    assert value == before
