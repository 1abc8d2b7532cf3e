"""The kept encoder writes what the standard one writes, and fails as it fails."""

from __future__ import annotations

import json
from datetime import date
from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abstractruntime.core.quick_json import quick_encode

ENCODERS = [
    json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True),
    json.JSONEncoder(ensure_ascii=False, allow_nan=False),
    json.JSONEncoder(indent=2),
    json.JSONEncoder(skipkeys=True, default=str),
]
KEPT = [(encoder, quick_encode(encoder)) for encoder in ENCODERS]

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.dictionaries(st.integers(), inner),
    max_leaves=20,
)


class Colour(str, Enum):
    RED = "red"


@settings(deadline=None)
@given(VALUES)
def test_the_text_is_that_of_the_encoder(value: Any) -> None:
    for encoder, encode in KEPT:
        assert encode(value) == encoder.encode(value)


@pytest.mark.parametrize(
    "value",
    [Colour.RED, {Colour.RED: (1, 2)}, {"a": {1.5: True, 2.5: None}}, {"a": date(2026, 1, 2), (1, 2): 3}],
)
def test_so_is_that_of_other_types(value: Any) -> None:
    for encoder, encode in KEPT:
        assert outcome(encode, value) == outcome(encoder.encode, value)


def test_what_has_no_form_fails_as_with_the_encoder() -> None:
    ring: dict[str, Any] = {}
    ring["ring"] = [ring]
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (ring, object(), {"nan": float("nan")}, {"a": {1, 2}}, {(1,): 2}, {"a": 1, 2: 3}, deep):
        for encoder, encode in KEPT:
            if encoder.indent is None or value is not deep:
                assert outcome(encode, value) == outcome(encoder.encode, value)


def test_a_failure_leaves_nothing_behind() -> None:
    _, encode = KEPT[0]
    shared: dict[str, Any] = {"bad": object()}
    with pytest.raises(TypeError):
        encode([shared])
    shared["bad"] = 1
    assert encode([shared, shared]) == '[{"bad":1},{"bad":1}]'


def test_a_python_without_the_c_encoder_encodes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json.encoder, "c_make_encoder", None)
    assert quick_encode(ENCODERS[0])({"b": 1, "a": [None]}) == '{"a":[null],"b":1}'


def outcome(encode: Any, value: Any) -> Any:
    try:
        return encode(value)
    except Exception as exc:
        return type(exc), str(exc)
