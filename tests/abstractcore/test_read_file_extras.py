"""What happens around an executed `read_file` (`spec/04 §7.7`)."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.integrations.abstractcore.session_attachments import (
    list_session_attachments,
    session_memory_owner_run_id,
)
from abstractruntime.integrations.abstractcore.tool_executor import MappingToolExecutor
from abstractruntime.storage.artifacts import InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryRunStore

from .attached import SESSION, attach
from .toolbox import call, handled, make_run, results


def read_file(file_path: str, start_line: int = 1, end_line: int | None = None) -> str:
    """As AbstractCore's answers."""
    path = Path(file_path)
    if not path.exists():
        return f"Error: File '{path}' does not exist"
    lines = path.read_text().splitlines()[start_line - 1 : end_line]
    numbered = [f"{number}: {line}" for number, line in enumerate(lines, start=start_line)]
    return "\n".join([f"File: {path} ({len(lines)} lines)", "", *numbered])


TOOLS = MappingToolExecutor({"read_file": read_file})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = (tmp_path / "project").resolve()
    made.mkdir()
    return made


@pytest.fixture
def store() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


def run_in(root: Path | None, session_id: str | None = SESSION) -> RunState:
    return make_run(vars={"workspace_root": str(root)} if root else {}, session_id=session_id)


def read(store: Any, run: RunState, arguments: Any, **options: Any) -> dict[str, Any]:
    outcome = handled(TOOLS, [call("read_file", arguments)], run=run, artifact_store=store, **options)
    return results(outcome)[0]


# -- a file that is gone ------------------------------------------------------------------------


def test_an_attachment_stands_in_for_a_missing_file(store: InMemoryArtifactStore, root: Path) -> None:
    artifact_id = attach(store, "one\ntwo\nthree\n", path="docs/a.md")
    sha = hashlib.sha256(b"one\ntwo\nthree\n").hexdigest()[:8]
    found = read(store, run_in(root), {"path": "docs/a.md", "start_line": 2})
    assert (found["success"], found["error"], found["call_id"]) == (True, None, "c1")
    assert found["output"] == (
        f"File: {root}/docs/a.md (2 lines)\n"
        f"(from attachment: @docs/a.md, id={artifact_id}, sha={sha}…)\n\n2: two\n3: three"
    )


def test_the_range_of_a_missing_file_may_have_other_names(store: InMemoryArtifactStore) -> None:
    attach(store, "1\n2\n3\n4\n", path="a.md")

    def failing(**anything: Any) -> None:
        raise OSError("gone")

    args = {"file_path": "a.md", "startLine": "2", "end_line_one_indexed_inclusive": 3}
    tools = MappingToolExecutor({"read_file": failing})
    outcome = handled(tools, [call("read_file", args)], run=run_in(None), artifact_store=store)
    assert results(outcome)[0]["output"].endswith("\n\n2: 2\n3: 3")


@pytest.mark.parametrize("content_type", ["text/plain", "image/png"])
def test_without_text_the_failure_stands(store: InMemoryArtifactStore, content_type: str) -> None:
    attach(store, b"\xff\xfe\x00", path="a.bin", content_type=content_type)
    found = read(store, run_in(None), {"file_path": "a.bin"})
    assert (found["success"], found["error"]) == (False, "File 'a.bin' does not exist")


def test_other_sessions_do_not_help(store: InMemoryArtifactStore) -> None:
    attach(store, "text", path="a.md", session_id="other")
    assert read(store, run_in(None), {"file_path": "a.md"})["success"] is False
    assert read(store, run_in(None, None), {"file_path": "a.md"})["success"] is False


# -- a file that was read -----------------------------------------------------------------------


def test_a_read_file_becomes_an_attachment(store: InMemoryArtifactStore, root: Path) -> None:
    (root / "a.md").write_text("text\n")
    run_store = InMemoryRunStore()
    for _ in range(2):
        found = read(store, run_in(root), {"file_path": "a.md"}, run_store=run_store)
        assert found["output"].startswith(f"File: {root}/a.md")
    (entry,) = list_session_attachments(artifact_store=store, session_id=SESSION)
    assert (entry["handle"], entry["filename"], entry["content_type"]) == ("a.md", "a.md", "text/markdown")
    metadata = store.get_metadata(entry["artifact_id"])
    assert metadata is not None
    assert metadata.tags == {
        "kind": "attachment",
        "source": "tool.read_file",
        "path": "a.md",
        "filename": "a.md",
        "session_id": SESSION,
        "sha256": hashlib.sha256(b"text\n").hexdigest(),
    }
    owner = run_store.load(session_memory_owner_run_id(SESSION))
    assert owner is not None
    assert (owner.status, owner.workflow_id, owner.current_node, owner.session_id, owner.output) == (
        RunStatus.COMPLETED,
        "__session_memory__",
        "done",
        SESSION,
        {"messages": []},
    )


def test_without_a_workspace_the_handle_is_absolute(store: InMemoryArtifactStore, root: Path) -> None:
    (root / "a.md").write_text("text")
    read(store, run_in(None), {"file_path": str(root / "a.md")})
    (entry,) = list_session_attachments(artifact_store=store, session_id=SESSION)
    assert entry["handle"] == str(root / "a.md")


def test_without_session_or_store_nothing_is_kept(store: InMemoryArtifactStore, root: Path) -> None:
    (root / "a.md").write_text("text")
    assert read(store, run_in(root, None), {"file_path": "a.md"})["success"] is True
    assert read(None, run_in(root), {"file_path": "a.md"})["success"] is True
    assert store.list_all() == []


@pytest.mark.parametrize(
    ("limit", "stubbed"), [("10", True), ("-5", True), ("100000", False), ("much", False), ("", False)]
)
def test_a_large_answer_gives_way_to_a_hint(
    store: InMemoryArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch, limit: str, stubbed: bool
) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", limit)
    (root / "a.md").write_text("text\n" * 10)
    output = read(store, run_in(root), {"file_path": "a.md"})["output"]
    (entry,) = list_session_attachments(artifact_store=store, session_id=SESSION)
    named = f"id={entry['artifact_id']}, sha={entry['sha256'][:8]}…"
    expected = (
        f"[read_file]: (stored as attachment) @a.md ({named}).\n"
        f"Use open_attachment(artifact_id='{entry['artifact_id']}', start_line=1, end_line=200) "
        "for bounded excerpts."
    )
    assert (output == expected) is stubbed


def test_too_large_a_file_stays_inline(
    store: InMemoryArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_MAX_INLINE_BYTES", "1")
    monkeypatch.setenv("ABSTRACTGATEWAY_MAX_ATTACHMENT_BYTES", "3")
    (root / "a.md").write_text("text")
    assert read(store, run_in(root), {"file_path": "a.md"})["output"].startswith("File:")
    assert store.list_all() == []


@pytest.mark.weakness("spec/04 §16.24")
def test_a_session_keeps_a_bounded_number_of_versions(
    store: InMemoryArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_SESSION_ATTACHMENT_VERSIONS", "3")
    for number in range(6):
        (root / "a.md").write_text(f"version {number}")
        read(store, run_in(root), {"file_path": "a.md"})
    kept = [store.load(each.artifact_id) for each in store.list_all()]
    assert sorted(each.as_text() for each in kept if each is not None) == [
        "version 3",
        "version 4",
        "version 5",
    ]


@pytest.mark.weakness("spec/04 §16.27")
def test_a_link_made_after_the_judgement_is_not_followed(store: InMemoryArtifactStore, root: Path) -> None:
    """The tool itself exchanges the file for a link: the outside file must not become an attachment."""
    (root.parent / "secret").write_text("secret")

    def exchanging(file_path: str) -> str:
        Path(file_path).symlink_to(root.parent / "secret")
        return "File: a (1 lines)\n\n1: x"

    tools = MappingToolExecutor({"read_file": exchanging})
    outcome = handled(tools, [call("read_file", {"path": "a"})], run=run_in(root), artifact_store=store)
    assert results(outcome)[0]["success"] is True
    assert store.list_all() == []


def test_a_store_that_fails_costs_no_answer(
    store: InMemoryArtifactStore,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(store, "store", MagicMock(side_effect=OSError("disk full")))
    (root / "a.md").write_text("text")
    with caplog.at_level(logging.WARNING):
        assert read(store, run_in(root), {"file_path": "a.md"})["success"] is True
    assert "attachments not used" in caplog.text


def test_a_file_that_was_read_can_be_opened_in_the_same_batch(
    store: InMemoryArtifactStore, root: Path
) -> None:
    (root / "a.md").write_text("text")
    calls = [
        call("read_file", {"file_path": "a.md"}, "1"),
        call("open_attachment", {"handle": "a.md"}, "2"),
    ]
    found = results(handled(TOOLS, calls, run=run_in(root), artifact_store=store))
    assert found[1]["output"]["content_text"] == "text"


def test_default_read_file(store: InMemoryArtifactStore, root: Path) -> None:
    """AbstractCore's own tool: read, registered, and found again after the file is gone."""
    common = pytest.importorskip("abstractcore.tools.common_tools", reason="needs AbstractCore")
    tools = MappingToolExecutor.from_tools([common.read_file])
    (root / "a.md").write_text("one\ntwo\n")
    asked = [call("read_file", {"path": "a.md"})]
    first = results(handled(tools, asked, run=run_in(root), artifact_store=store))[0]
    (root / "a.md").unlink()
    second = results(handled(tools, asked, run=run_in(root), artifact_store=store))[0]
    assert first["output"].splitlines()[0] == second["output"].splitlines()[0]
    assert first["output"].splitlines()[-2:] == second["output"].splitlines()[-2:] == ["1: one", "2: two"]
