"""The header in front of each user turn (`spec/04 §4.1`)."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from abstractruntime.core import handler_parts
from abstractruntime.integrations.abstractcore import grounding
from abstractruntime.integrations.abstractcore.grounding import (
    ground_payload,
    ground_turn,
    strip_system_header,
)

HEADER = "[2026-01-02 03:04:05 FR]"


@pytest.fixture(autouse=True)
def fixed_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grounding, "current_header", lambda: HEADER)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_the_header_is_local_time_and_country(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACT_COUNTRY", "ch")
    assert re.fullmatch(r"\[\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2} CH\]", grounding.system_context_header())


def test_a_prompt_is_the_turn_and_messages_are_untouched() -> None:
    messages = [user("before"), "odd"]
    prompt, same = ground_turn("hello", messages)
    assert prompt == f"{HEADER} hello"
    assert same is messages
    assert messages == [user("before"), "odd"]


@pytest.mark.parametrize("prompt", [None, "", "  \n"])
def test_without_a_prompt_the_last_user_message_is_the_turn(prompt: Any) -> None:
    messages = [user("one"), {"role": "assistant", "content": "x"}, user("two"), {"role": "tool"}]
    before = copy.deepcopy(messages)
    same_prompt, grounded = ground_turn(prompt, messages)
    assert same_prompt is prompt
    assert grounded == [*before[:2], user(f"{HEADER} two"), {"role": "tool"}]
    assert messages == before


def test_without_a_user_message_one_is_added() -> None:
    messages = [{"role": "system", "content": "be kind"}]
    assert ground_turn("", messages) == ("", [*messages, user(HEADER)])


def test_an_entry_that_is_no_dict_is_a_user_turn() -> None:
    assert ground_turn("", [{"role": "system", "content": "s"}, 7])[1] == [
        {"role": "system", "content": "s"},
        user(f"{HEADER} 7"),
    ]


@pytest.mark.parametrize("messages", [None, [], "text", {"role": "user"}])
def test_neither_stays_as_it_is(messages: Any) -> None:
    assert ground_turn("", messages) == ("", messages)


@pytest.mark.parametrize(
    "text",
    [
        "[2025-12-31 23:59:58 FR] hi",
        "[2025/12/31 23:59 FR] hi",
        "[2025-12-31 23:59 us] hi",
        "  [2025-12-31 23:59:58 XX]",
    ],
)
def test_text_with_a_header_stays_as_it_is(text: str) -> None:
    assert ground_turn(text, None) == (text, None)
    assert ground_turn("", [user(text)]) == ("", [user(text)])


@pytest.mark.parametrize("text", ["[2025-12-31] hi", "[see 2025-12-31 23:59 FR]", "hi [2025-12-31 23:59 FR]"])
def test_other_brackets_are_text(text: str) -> None:
    assert ground_turn(text, None)[0] == f"{HEADER} {text}"


def test_the_old_form_is_rewritten() -> None:
    assert ground_turn("Grounding: 2026/01/18|10:30|FR\n\nhello\nyou", None)[0] == (
        "[2026-01-18 10:30:00 FR] hello\nyou"
    )
    assert ground_turn("", [user("grounding: 2026/01/18|10:30|fr")])[1] == [user("[2026-01-18 10:30:00 FR]")]


@pytest.mark.parametrize("blank", ["", "  ", None])
def test_blank_user_content_becomes_the_header(blank: Any) -> None:
    assert ground_turn("", [user(blank)])[1] == [user(HEADER)]


def test_content_parts_are_kept() -> None:
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "x"}}]
    _, once = ground_turn("", [user(parts)])
    assert once == [user([{"type": "text", "text": HEADER}, *parts])]
    assert ground_turn("", once)[1] == once
    assert len(parts) == 2


def test_a_payload_is_grounded_on_a_copy() -> None:
    payload = {"messages": [user("hi")], "model": "m"}
    assert ground_payload(payload) == {"messages": [user(f"{HEADER} hi")], "model": "m"}
    assert payload == {"messages": [user("hi")], "model": "m"}
    assert ground_payload({"prompt": "hi"}) == {"prompt": f"{HEADER} hi"}
    assert ground_payload({"params": {}}) == {"params": {}}


def test_grounding_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_GROUNDING", "off")
    assert ground_turn("hello", [user("x")]) == ("hello", [user("x")])
    monkeypatch.setenv("ABSTRACTRUNTIME_GROUNDING", "on")
    assert ground_turn("hello", None)[0] == f"{HEADER} hello"


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("Grounding: 2026/01/18|10:30|FR\nYou are kind.", "You are kind."),
        ("[2026-01-18 10:30:00 FR]\n\n  You are kind.", "You are kind."),
        ("[2026/01/18 10:30 FR] You are kind.\nAnd brief.", "You are kind.\nAnd brief."),
        ("[2026-01-18 10:30:00 FR]", None),
        ("Grounding: 2026/01/18|10:30|FR", None),
        ("You are kind.\n[2026-01-18 10:30:00 FR]", "You are kind.\n[2026-01-18 10:30:00 FR]"),
        ("Grounding: cite your sources", "Grounding: cite your sources"),
        ("", ""),
        (None, None),
    ],
)
def test_a_system_prompt_loses_an_old_header_only(given: Any, left: Any) -> None:
    assert strip_system_header(given) == left


def test_a_module_put_there_by_hand_counts_as_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts stub AbstractCore in their tests; such a module has no spec."""
    monkeypatch.setitem(sys.modules, "abstractcore", ModuleType("abstractcore"))
    assert handler_parts._has_abstractcore() is True
    monkeypatch.setitem(sys.modules, "abstractcore", None)
    assert handler_parts._has_abstractcore() is False


def test_whether_it_is_installed_is_asked_again_when_the_path_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "abstractcore", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none")])
    assert handler_parts._has_abstractcore() is False
    (tmp_path / "abstractcore").mkdir()
    (tmp_path / "abstractcore" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert handler_parts._has_abstractcore() is True
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none")])
    assert handler_parts._has_abstractcore() is False


def test_the_search_of_the_disk_is_made_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "abstractcore", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none")])
    searches: list[str] = []
    monkeypatch.setattr(handler_parts, "find_spec", searches.append)
    assert [handler_parts._has_abstractcore() for _ in range(3)] == [False] * 3
    assert searches == ["abstractcore"]


def test_grounding_needs_no_abstractcore() -> None:
    code = (
        "import sys; sys.modules['abstractcore'] = None\n"
        "from abstractruntime.integrations.abstractcore.grounding import ground_turn\n"
        "print(ground_turn('hello', None)[0].endswith('] hello'))\n"
        "print(any(name.endswith('llm_client') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
