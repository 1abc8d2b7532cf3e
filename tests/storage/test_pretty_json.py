"""The indented text is exactly the standard library's."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.storage.pretty_json import pretty

keys = st.text() | st.integers() | st.booleans() | st.none()
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner),
    max_leaves=30,
)


def standard(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2)


@given(values)
def test_same_text_as_the_standard_library(value: Any) -> None:
    assert pretty(value) == standard(value)


class Colour(str, Enum):
    RED = "red"


@pytest.mark.parametrize("value", [{"c": Colour.RED}, {Colour.RED: 1}, {"n": True}, [[]], [{}], {"a": []}])
def test_special_values(value: Any) -> None:
    assert pretty(value) == standard(value)


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError):
        pretty({"a": object()})
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        pretty(loop)
