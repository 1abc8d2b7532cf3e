"""`spec/03 §5`."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from abstractruntime.memory.token_budget import (
    estimate_message_tokens,
    estimate_tokens,
    trim_messages_to_max_input_tokens,
)

from .runs import message

ESTIMATOR = "abstractcore.utils.token_utils"


def stand_in(monkeypatch: pytest.MonkeyPatch, estimate: Any) -> None:
    """An installed abstractcore."""
    for name in ("abstractcore", "abstractcore.utils", ESTIMATOR):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    utils = type("TokenUtils", (), {"estimate_tokens": staticmethod(estimate)})
    monkeypatch.setattr(sys.modules[ESTIMATOR], "TokenUtils", utils, raising=False)


def one_per_word(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda text, model: len(text.split()))


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("a", 1), ("abcdefgh", 2), ("x" * 41, 10)])
def test_a_quarter_of_the_characters(monkeypatch: pytest.MonkeyPatch, text: str, tokens: int) -> None:
    monkeypatch.setitem(sys.modules, ESTIMATOR, None)
    assert estimate_tokens(text) == tokens


def test_abstractcores_estimate_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda text, model: 7 if model == "m" else 8)
    assert estimate_tokens("x", model="m") == 7
    assert estimate_tokens("x") == 8
    assert estimate_tokens("") == 0


def test_an_estimator_that_fails_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(text: str, model: str | None) -> int:
        raise RuntimeError("no tokenizer")

    stand_in(monkeypatch, fails)
    assert estimate_tokens("abcdefgh") == 2


def test_a_message_counts_with_its_role(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, lambda text, model: len(text))
    assert estimate_message_tokens({"role": "user", "content": "hi"}) == len("user: hi")
    assert estimate_message_tokens({"content": "hi"}) == 2
    assert estimate_message_tokens("hi") == 0


TALK = [
    message("user", "one two three"),  # 4 words with its role
    message("system", "rules"),  # 2
    message("assistant", "four five"),  # 3
    message("user", "six"),  # 2
]


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (11, ["rules", "one two three", "four five", "six"]),
        (10, ["rules", "four five", "six"]),
        (7, ["rules", "four five", "six"]),
        (6, ["rules", "six"]),
        (1, ["rules", "six"]),
    ],
)
def test_the_last_messages_that_fit(monkeypatch: pytest.MonkeyPatch, budget: int, kept: list[str]) -> None:
    one_per_word(monkeypatch)
    trimmed = trim_messages_to_max_input_tokens([*TALK, "noise"], max_input_tokens=budget)
    assert [entry["content"] for entry in trimmed] == kept


def test_no_gap_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    one_per_word(monkeypatch)
    talk = [message("user", "a"), message("user", "b c d e f g"), message("user", "h")]
    trimmed = trim_messages_to_max_input_tokens(talk, max_input_tokens=6)
    assert [entry["content"] for entry in trimmed] == ["h"]


@pytest.mark.parametrize("budget", [0, -5, None, "many"])
def test_no_budget_no_change(budget: Any) -> None:
    trimmed = trim_messages_to_max_input_tokens([*TALK, 3], max_input_tokens=budget)
    assert trimmed == TALK
    trimmed[0]["content"] = "changed"
    assert TALK[0]["content"] == "one two three"


def test_system_messages_alone() -> None:
    assert trim_messages_to_max_input_tokens([TALK[1]], max_input_tokens=1) == [TALK[1]]
