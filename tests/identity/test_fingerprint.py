"""`spec/01 §15`: actor fingerprints."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

import abstractruntime.identity as identity
from abstractruntime.identity.fingerprint import ActorFingerprint, sha256_hex


def test_import_surface() -> None:
    assert identity.ActorFingerprint is ActorFingerprint


def test_sha256_hex() -> None:
    assert sha256_hex("é") == hashlib.sha256("é".encode()).hexdigest()


def test_reference_value() -> None:
    actor = ActorFingerprint.from_metadata(kind="human")
    assert actor.actor_id == "ar_50e704cfaa2db8d9660c4968"
    assert actor.to_dict() == {
        "actor_id": "ar_50e704cfaa2db8d9660c4968",
        "kind": "human",
        "display_name": None,
        "metadata": {},
    }


def test_the_documented_hash_with_non_ascii_text() -> None:
    actor = ActorFingerprint.from_metadata(kind="agent", display_name="Zoë", metadata={"b": 1, "a": ["ü"]})
    text = '{"display_name":"Zoë","kind":"agent","metadata":{"a":["ü"],"b":1}}'
    assert actor.actor_id == "ar_" + hashlib.sha256(text.encode()).hexdigest()[:24]
    assert (actor.kind, actor.display_name, actor.metadata) == ("agent", "Zoë", {"a": ["ü"], "b": 1})


def test_deterministic_whatever_the_key_order() -> None:
    one = ActorFingerprint.from_metadata(kind="service", metadata={"a": 1, "b": 2})
    two = ActorFingerprint.from_metadata(kind="service", metadata={"b": 2, "a": 1})
    assert one == two


@pytest.mark.parametrize(
    "other",
    [
        {"kind": "agent"},
        {"kind": "human", "display_name": "x"},
        {"kind": "human", "metadata": {"a": 1}},
        {"kind": "human", "display_name": ""},
    ],
)
def test_every_part_counts(other: dict[str, Any]) -> None:
    base = ActorFingerprint.from_metadata(kind="human")
    assert ActorFingerprint.from_metadata(**other).actor_id != base.actor_id


def test_empty_metadata_is_no_metadata() -> None:
    assert ActorFingerprint.from_metadata(kind="human", metadata={}) == ActorFingerprint.from_metadata(
        kind="human"
    )


def test_metadata_is_copied_in_and_out() -> None:
    facts = {"roles": ["a"]}
    actor = ActorFingerprint.from_metadata(kind="human", metadata=facts)
    facts["roles"].append("b")
    actor.to_dict()["metadata"]["roles"].append("c")
    assert actor.metadata == {"roles": ["a"]}


def test_direct_construction_and_frozen() -> None:
    actor = ActorFingerprint("id", "agent")
    assert actor.to_dict() == {"actor_id": "id", "kind": "agent", "display_name": None, "metadata": None}
    with pytest.raises(dataclasses.FrozenInstanceError):
        actor.kind = "human"  # type: ignore[misc]


def test_from_metadata_is_keyword_only_and_needs_a_kind() -> None:
    with pytest.raises(TypeError):
        ActorFingerprint.from_metadata("human")  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ActorFingerprint.from_metadata()  # type: ignore[call-arg]


def test_metadata_that_json_cannot_hold() -> None:
    with pytest.raises(TypeError):
        ActorFingerprint.from_metadata(kind="human", metadata={"x": {1, 2}})
