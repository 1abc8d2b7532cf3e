"""Switches and JSON-like values, as the whole integration reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.flags import boolish, env_flag
from abstractruntime.integrations.abstractcore.json_values import json_value


@pytest.mark.parametrize("value", [True, 1, 0.5, -1, "1", " TRUE ", "Yes", "y", "on"])
def test_true_switches(value: object) -> None:
    assert boolish(value) is True


@pytest.mark.parametrize("value", [False, 0, 0.0, "", "0", "no", "off", "enabled", None, [1], {"a": 1}])
def test_false_switches(value: object) -> None:
    assert boolish(value) is False


def test_the_environment_is_read_at_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SWITCH_OF_THIS_TEST", raising=False)
    assert env_flag("SWITCH_OF_THIS_TEST") is False
    monkeypatch.setenv("SWITCH_OF_THIS_TEST", " On ")
    assert env_flag("SWITCH_OF_THIS_TEST") is True


@dataclass
class _Point:
    x: int
    label: Any


class _Dumps:
    def model_dump(self) -> dict[str, Any]:
        return {"a": (1, 2)}


class _Dicts:
    def dict(self) -> dict[str, Any]:
        return {"b": {3}}


class _Plain:
    def __str__(self) -> str:
        return "plain"


class _Broken:
    def model_dump(self) -> dict[str, Any]:
        raise RuntimeError("no")

    def __str__(self) -> str:
        return "broken"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1: [True, None, 1.5, "x"]}, {"1": [True, None, 1.5, "x"]}),
        ((1, (2,)), [1, [2]]),
        ({"only"}, ["only"]),
        (_Point(1, _Dumps()), {"x": 1, "label": {"a": [1, 2]}}),
        (_Dicts(), {"b": [3]}),
        (_Plain(), "plain"),
        (_Broken(), "broken"),
        (_Point, str(_Point)),
    ],
)
def test_anything_becomes_json_like(value: object, expected: object) -> None:
    assert json_value(value) == expected


def test_a_value_inside_itself_ends() -> None:
    loop: list[Any] = [1]
    loop.append(loop)
    assert json_value(loop)[0] == 1
    assert isinstance(json_value(loop)[1], str)
