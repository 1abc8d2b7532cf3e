"""Text on one line is exactly the standard library's, and what it can't say is refused."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.storage.json_text import encode

characters = st.characters(exclude_categories=["Cs"])
keys = st.text(characters) | st.integers() | st.booleans() | st.none()
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(characters)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner) | st.tuples(inner, inner),
    max_leaves=30,
)


class Colour(str, Enum):
    RED = "red"


@given(values)
def test_same_text_as_the_standard_library(value: Any) -> None:
    assert encode(value, "it") == json.dumps(value, ensure_ascii=False)


def test_special_values() -> None:
    assert encode({"c": Colour.RED, Colour.RED: "\ud83d"}, "it") == '{"c": "red", "red": "\\ud83d"}'


def test_what_has_no_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match=r"it can't be stored as JSON: .*object"):
        encode({"a": object()}, "it")
    loop: list[Any] = []
    loop.append({"again": loop})
    with pytest.raises(InvalidInputError, match="Circular"):
        encode(loop, "it")


def test_a_refusal_leaves_nothing_behind() -> None:
    shared: dict[str, Any] = {"n": 1}
    with pytest.raises(TypeError):
        encode([shared, object()], "it")
    assert encode([shared, shared], "it") == '[{"n": 1}, {"n": 1}]'
