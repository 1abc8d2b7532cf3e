"""Repeated tool outputs become stubs in the view a model gets (`spec/04 §9.4`)."""

from __future__ import annotations

from typing import Any

import pytest

from abstractruntime.integrations.abstractcore.session_attachments import (
    ParsedToolMessage,
    dedup_messages_view,
    parse_tool_message,
)

READ = "[read_file]: File: /repo/docs/a.md (2 lines)\n\n1: one\n2: two"
OPENED = "[open_attachment]: Attachment: docs/a.md (id=id1, sha=" + "ab" * 32 + ", lines 3-4)\n\n3: x\n4: y"


def tool(content: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content}


def contents(messages: list[Any], index: list[dict[str, Any]] | None = None) -> list[Any]:
    return [message["content"] for message in dedup_messages_view(messages, session_attachments=index)]


def entry(artifact_id: str, handle: str = "docs/a.md", sha256: str | None = "cd" * 32) -> dict[str, Any]:
    return {"artifact_id": artifact_id, "handle": handle, "sha256": sha256}


def test_tool_messages_are_parsed() -> None:
    assert parse_tool_message(tool("[read_file]: body\nmore")) == ParsedToolMessage("read_file", "body\nmore")
    assert parse_tool_message("[x y]: ") == ParsedToolMessage("x y", "")
    for other in ({"role": "user", "content": READ}, tool("plain"), tool(["part"]), tool("[]: x"), None):
        assert parse_tool_message(other) is None


def test_a_repeated_read_is_a_stub() -> None:
    messages = [tool(READ), {"role": "user", "content": READ}, tool(READ)]
    stub = "[read_file]: (duplicate) File already shown above: a.md lines 1-2."
    assert contents(messages) == [READ, READ, stub]
    relative = READ.replace("/repo/", "")
    assert contents([tool(relative)] * 2)[1] == stub.replace("a.md", "docs/a.md")


def test_the_given_messages_stay() -> None:
    messages = [tool(READ), "no message", tool(READ)]
    view = dedup_messages_view(messages)
    assert len(view) == 2
    view[0]["content"] = "changed"
    assert messages == [tool(READ), "no message", tool(READ)]


@pytest.mark.parametrize(
    "other",
    [
        READ.replace("two", "2"),
        READ.replace("a.md", "b.md"),
        READ.replace("2: two", "2: two\n3: three"),
        READ.replace("read_file", "skim_files"),
        "[read_file]: File not found",
    ],
)
def test_something_else_stays(other: str) -> None:
    assert contents([tool(READ), tool(other)])[1] == other


def test_the_stub_says_how_to_open_it_again() -> None:
    again = "Re-open with open_attachment(artifact_id='id1', start_line=1, end_line=2)."
    one = contents([tool(READ)] * 2, [entry("id1")])[1]
    assert one.split("\n")[1] == f"{again} Attached artifact: id=id1, sha=cdcdcdcd…"
    four = contents([tool(READ)] * 2, [entry(f"id{number}") for number in range(1, 5)])[1]
    assert four.split("\n")[1] == (
        f"{again} Attached candidates: id1:cdcdcdcd…, id2:cdcdcdcd…, id3:cdcdcdcd… (specify expected_sha256)"
    )
    assert "\n" not in contents([tool(READ)] * 2, [entry("id1", "else.md")])[1]


def test_absolute_and_relative_path_are_one_file_if_one_handle_fits() -> None:
    messages = [tool(READ), tool(READ.replace("/repo/", ""))]
    assert contents(messages, [entry("id1")])[1].startswith("[read_file]: (duplicate)")
    assert contents(messages)[1] == messages[1]["content"]
    ambiguous = [entry("id1"), entry("id2", "a.md")]
    assert contents(messages, ambiguous)[1] == messages[1]["content"]


def test_a_repeated_attachment_is_a_stub() -> None:
    assert contents([tool(OPENED)] * 2)[1] == (
        "[open_attachment]: (duplicate) Attachment already shown above: docs/a.md lines 3-4 (id=id1).\n"
        "Re-open with open_attachment(artifact_id='id1', start_line=3, end_line=4)."
    )
    for other in (OPENED.replace("id1", "id2"), OPENED.replace("3-4", "3-5"), OPENED.replace("ab", "ba")):
        assert contents([tool(OPENED), tool(other)])[1] == other


def test_media_has_no_lines() -> None:
    opened = "[open_attachment]: Attachment: a.png (id=id1, image/png, 4 bytes)\n\n(binary/media attachment)"
    assert contents([tool(opened)] * 2)[1] == (
        "[open_attachment]: (duplicate) Attachment already shown above: a.png (id=id1).\n"
        "Re-open with open_attachment(artifact_id='id1')."
    )
