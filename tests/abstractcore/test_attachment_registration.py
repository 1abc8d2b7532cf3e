"""Read files as attachments, and how many of them a session keeps (`spec/04 §7.7`, §16.22, §16.24)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime.integrations.abstractcore._attachments.index import Attachment, AttachmentIndex
from abstractruntime.integrations.abstractcore._attachments.registration import register_read_file
from abstractruntime.integrations.abstractcore.session_attachments import session_memory_owner_run_id
from abstractruntime.storage.artifacts import FileArtifactStore, InMemoryArtifactStore
from abstractruntime.storage.in_memory import InMemoryRunStore

from .attached import SESSION, attach, open_it

OWNER = session_memory_owner_run_id(SESSION)


class Folder:
    """A workspace whose files a session reads."""

    def __init__(self, root: Path, store: Any) -> None:
        self.root = root
        self.store = store

    def read(self, name: str, content: str, **more: Any) -> Attachment | None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return register_read_file(AttachmentIndex(self.store, SESSION), path=path, handle=name, **more)

    def texts(self) -> list[str]:
        """What is kept, sorted."""
        kept = [self.store.load(each.artifact_id) for each in AttachmentIndex(self.store, SESSION).entries()]
        return sorted(artifact.as_text() for artifact in kept)


@pytest.fixture(params=["memory", "files"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    store = InMemoryArtifactStore() if request.param == "memory" else FileArtifactStore(tmp_path / "store")
    return Folder(tmp_path / "workspace", store)


def test_a_read_file_is_an_attachment(folder: Folder) -> None:
    kept = folder.read("docs/a.json", "{}")
    assert kept is not None
    metadata = folder.store.get_metadata(kept.artifact_id)
    assert (metadata.run_id, metadata.content_type) == (OWNER, "application/json")
    assert metadata.tags == {
        "kind": "attachment",
        "source": "tool.read_file",
        "path": "docs/a.json",
        "filename": "a.json",
        "session_id": SESSION,
        "sha256": kept.sha256,
    }
    assert open_it(folder.store, handle="docs/a.json")[1]["content_text"] == "{}"


def test_an_unknown_type_is_plain_text(folder: Folder) -> None:
    kept = folder.read("Makefile", "all:")
    assert kept is not None
    assert kept.content_type == "text/plain"


def test_the_same_content_is_kept_once(folder: Folder) -> None:
    assert folder.read("a.md", "x") == folder.read("a.md", "x")
    assert folder.texts() == ["x"]


def test_two_files_of_one_content_are_two_attachments(folder: Folder) -> None:
    folder.read("a/__init__.py", "")
    folder.read("b/__init__.py", "")
    assert open_it(folder.store, handle="a/__init__.py")[1]["handle"] == "a/__init__.py"
    assert open_it(folder.store, handle="b/__init__.py")[1]["handle"] == "b/__init__.py"


def test_a_content_that_came_back_is_the_newest(folder: Folder) -> None:
    for text in ("one", "two", "one"):
        folder.read("a.md", text)
    assert open_it(folder.store, handle="a.md")[1]["content_text"] == "one"
    assert folder.texts() == ["one", "two"]


def test_what_can_not_be_read_or_is_too_large_is_skipped(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = AttachmentIndex(folder.store, SESSION)
    assert register_read_file(index, path=folder.root / "none.md", handle="none.md") is None
    monkeypatch.setenv("ABSTRACTGATEWAY_MAX_ATTACHMENT_BYTES", "3")
    assert folder.read("a.md", "1234") is None
    assert folder.read("b.md", "123") is not None
    for ignored in ("0", "-1", "many"):
        monkeypatch.setenv("ABSTRACTGATEWAY_MAX_ATTACHMENT_BYTES", ignored)
        assert folder.read(f"c{ignored}.md", "1234") is not None


def test_no_session_no_attachment(folder: Folder) -> None:
    folder.read("a.md", "x")
    index = AttachmentIndex(folder.store, None)
    assert register_read_file(index, path=folder.root / "a.md", handle="a.md") is None


def test_the_owner_run_is_created_once(folder: Folder) -> None:
    runs = InMemoryRunStore()
    folder.read("a.md", "x", run_store=runs)
    owner = runs.load(OWNER)
    assert owner is not None
    assert (owner.workflow_id, owner.current_node, owner.status.value) == (
        "__session_memory__",
        "done",
        "completed",
    )
    assert (owner.session_id, owner.output) == (SESSION, {"messages": []})
    assert owner.vars["_runtime"] == {"memory_spans": []}
    owner.vars["_runtime"]["memory_spans"].append({"kind": "memory_note"})
    runs.save(owner)
    folder.read("b.md", "y", run_store=runs)
    again = runs.load(OWNER)
    assert again is not None
    assert len(again.vars["_runtime"]["memory_spans"]) == 1


@pytest.mark.weakness("spec/04 §16.24")
def test_old_versions_go_first(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_SESSION_ATTACHMENT_VERSIONS", "2")
    folder.read("b.md", "other")
    for text in ("one", "two", "three"):
        folder.read("a.md", text)
    assert folder.texts() == ["other", "three", "two"]


@pytest.mark.weakness("spec/04 §16.24")
def test_a_session_keeps_so_many_bytes_of_read_files(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ABSTRACTRUNTIME_SESSION_ATTACHMENT_BYTES", "10")
    attach(folder.store, "given by somebody", path="given.md")
    for name in ("aaaa", "bbbb", "cccc"):
        folder.read(name, name)
    assert folder.texts() == ["bbbb", "cccc", "given by somebody"]
    assert folder.read("large", "x" * 11) is None
    assert folder.read("all", "x" * 10) is not None
    assert folder.texts() == ["given by somebody", "x" * 10]


@pytest.mark.weakness("spec/04 §16.22")
def test_one_listing_serves_a_step(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.read("a.md", "x")
    listings = []
    list_by_run = folder.store.list_by_run
    monkeypatch.setattr(
        folder.store, "list_by_run", lambda run_id: listings.append(run_id) or list_by_run(run_id)
    )
    index = AttachmentIndex(folder.store, SESSION)
    for _ in range(5):
        assert register_read_file(index, path=folder.root / "a.md", handle="a.md") is not None
        assert len(index.entries()) == 1
    assert listings == [OWNER]
