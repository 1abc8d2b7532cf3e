"""`spec/03 §3`."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.memory.compaction import (
    CompactionSplit,
    normalize_messages,
    span_metadata_from_messages,
    split_for_compaction,
)

from .runs import message

TALK = [message("user", "1"), message("system", "rules"), message("user", "2"), message("assistant", "3")]


def test_messages_get_what_they_lack() -> None:
    given: list[Any] = [
        {"content": None, "extra": 1},
        "noise",
        {"role": "user", "content": 5, "timestamp": "t", "metadata": {"message_id": "m", "k": 1}},
        {"role": "", "content": "x", "timestamp": " ", "metadata": {"message_id": ""}},
    ]
    first, second, third = normalize_messages(given, now_iso=lambda: "now")
    assert first["metadata"]["message_id"].startswith("msg_")
    assert len(first["metadata"]["message_id"]) == 36
    assert (first["role"], first["content"], first["timestamp"], first["extra"]) == ("user", "", "now", 1)
    assert second == {
        "role": "user",
        "content": "5",
        "timestamp": "t",
        "metadata": {"message_id": "m", "k": 1},
    }
    assert (third["role"], third["timestamp"]) == ("user", "now")
    assert third["metadata"]["message_id"] != first["metadata"]["message_id"]


def test_the_callers_messages_stay_as_they_are() -> None:
    given = {"role": "user", "content": "x", "metadata": {"k": 1}}
    normalize_messages([given], now_iso=lambda: "now")
    assert given == {"role": "user", "content": "x", "metadata": {"k": 1}}


@pytest.mark.parametrize(
    ("preserved", "older", "recent"),
    [(-3, "123", ""), (0, "123", ""), (1, "12", "3"), (3, "", "123"), (9, "", "123")],
)
def test_the_last_ones_are_preserved(preserved: int, older: str, recent: str) -> None:
    split = split_for_compaction(TALK, preserve_recent=preserved)
    assert [entry["content"] for entry in split.system_messages] == ["rules"]
    assert "".join(entry["content"] for entry in split.older_messages) == older
    assert "".join(entry["content"] for entry in split.recent_messages) == recent
    assert split.non_system_count == 3


def test_a_split_is_frozen() -> None:
    with pytest.raises(AttributeError):
        CompactionSplit([], [], []).older_messages = []  # type: ignore[misc]


def test_where_a_span_begins_and_ends() -> None:
    first, last = message("user", "1", "a"), message("user", "2", "b")
    first["timestamp"], last["timestamp"] = "t1", "t2"
    assert span_metadata_from_messages([first, TALK[0], last]) == {
        "from_timestamp": "t1",
        "to_timestamp": "t2",
        "from_message_id": "a",
        "to_message_id": "b",
        "message_count": 3,
    }
    with pytest.raises(ValueError, match="empty"):
        span_metadata_from_messages([])
