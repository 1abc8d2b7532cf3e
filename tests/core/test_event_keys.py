"""`spec/01 §7`: event wait keys."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.event_keys import build_event_wait_key, session_key_prefix, wildcard_key

IDS = {"session_id": " s1 ", "workflow_id": " w1 ", "run_id": " r1 "}
texts = st.text(min_size=1).filter(lambda text: bool(text.strip()))


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ("session", "evt:session:s1:go"),
        ("workflow", "evt:workflow:w1:go"),
        ("run", "evt:run:r1:go"),
        ("global", "evt:global:global:go"),
        (" Session ", "evt:session:s1:go"),
        ("GLOBAL", "evt:global:global:go"),
        ("", "evt:session:s1:go"),
        (None, "evt:session:s1:go"),
    ],
)
def test_scopes(scope: str | None, key: str) -> None:
    assert build_event_wait_key(scope=scope, name=" go ", **IDS) == key


def test_global_needs_no_id() -> None:
    assert build_event_wait_key(scope="global", name="go") == "evt:global:global:go"


def test_colons_are_not_escaped() -> None:
    assert build_event_wait_key(scope="session", name="a:b", session_id="x:y") == "evt:session:x:y:a:b"


@pytest.mark.parametrize("name", ["", "  ", None])
def test_name_is_required(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^event name is required$"):
        build_event_wait_key(scope="nonsense", name=name)


@pytest.mark.parametrize("scope", ["planet", " Planet", 5, ["session"]])
def test_unknown_scope_is_shown_as_given(scope: Any) -> None:
    with pytest.raises(ValueError, match="unknown event scope") as caught:
        build_event_wait_key(scope=scope, name="n", **IDS)
    assert str(caught.value) == f"unknown event scope: {scope!r}"


@pytest.mark.parametrize("scope", ["session", "workflow", "run"])
@pytest.mark.parametrize("missing", [None, "", "  "])
def test_scope_id_is_required(scope: str, missing: Any) -> None:
    ids = {**IDS, f"{scope}_id": missing}
    with pytest.raises(ValueError, match="missing scope id") as caught:
        build_event_wait_key(scope=f" {scope.upper()}", name="n", **ids)
    assert str(caught.value) == f"missing scope id for scope='{scope}'"


@given(scope_id=texts, name=texts)
def test_wildcard_is_the_key_with_name_star(scope_id: str, name: str) -> None:
    key = build_event_wait_key(scope="session", name=name, session_id=scope_id)
    star = build_event_wait_key(scope="session", name="*", session_id=scope_id)
    assert wildcard_key(key, name) == star
    assert wildcard_key(star, "*") == star
    assert key.startswith(session_key_prefix(scope_id))
    assert key[len(session_key_prefix(scope_id)) :] == name.strip()


@pytest.mark.parametrize(
    ("key", "name"), [("user:r:n", "n"), ("evt:session:s:go", "gone"), ("evt:session:s:", "")]
)
def test_wildcard_refuses_other_keys(key: str, name: str) -> None:
    with pytest.raises(InvalidInputError, match="is not an event key"):
        wildcard_key(key, name)


def test_session_prefix_needs_a_session() -> None:
    assert session_key_prefix(" s ") == "evt:session:s:"
    with pytest.raises(InvalidInputError, match="missing scope id"):
        session_key_prefix(" ")
