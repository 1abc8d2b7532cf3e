"""Attachments that answer for paths outside of the workspace (`spec/04 §7.7`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from abstractruntime.core.models import RunState
from abstractruntime.integrations.abstractcore.tool_executor import (
    MappingToolExecutor,
    PassthroughToolExecutor,
)
from abstractruntime.storage.artifacts import InMemoryArtifactStore

from .attached import SESSION, attach
from .toolbox import Recording, call, handled, make_run, results

CLOSED = "attachments only; filesystem access blocked"


@pytest.fixture
def store() -> InMemoryArtifactStore:
    made = InMemoryArtifactStore()
    attach(made, "alpha\nbeta\n", path="/home/u/docs/a.md")
    attach(made, "Beta here\n", path="/home/u/docs/b.txt")
    attach(made, "deep", path="/home/u/docs/sub/c.md")
    attach(made, "hidden", path="/home/u/docs/.env")
    attach(made, b"\x89PNG\xff", path="/home/u/docs/p.png", content_type="image/png")
    return made


@pytest.fixture
def run(tmp_path: Path) -> RunState:
    return make_run(vars={"workspace_root": str(tmp_path / "ws")}, session_id=SESSION)


def answer(store: Any, run: RunState, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """The result of one call, which no executor gets to see."""
    tools = Recording()
    (found,) = results(handled(tools, [call(tool, arguments)], run=run, artifact_store=store))
    assert (tools.probes, tools.batches) == (0, [])
    return found


def output(store: Any, run: RunState, tool: str, arguments: dict[str, Any]) -> str:
    found = answer(store, run, tool, arguments)
    assert (found["success"], found["error"]) == (True, None)
    text: str = found["output"]
    return text


@pytest.mark.parametrize(
    "path", ["/home/u/docs/a.md", "file:///home/u/docs/a.md", "@/home/u/docs/a.md", "/home/u\\docs\\a.md"]
)
def test_read_file(store: InMemoryArtifactStore, run: RunState, path: str) -> None:
    lines = output(store, run, "read_file", {"path": path, "end_line": 1}).splitlines()
    assert lines[0] == f"File: {path} (2 lines)"  # a small file is shown whole
    assert lines[1].startswith("(from attachment: @/home/u/docs/a.md, id=")
    assert lines[2:] == ["", "1: alpha", "2: beta"]


def test_read_file_that_can_not_be_shown(store: InMemoryArtifactStore, run: RunState) -> None:
    found = answer(store, run, "read_file", {"file_path": "/home/u/docs/p.png"})
    assert (found["success"], found["error"]) == (False, "binary content")


def test_list_files(store: InMemoryArtifactStore, run: RunState) -> None:
    folder = {"directory_path": "/home/u/docs"}
    head = "Entries in '/home/u/docs' matching '*' (hidden entries excluded; " + CLOSED + "):"
    assert output(store, run, "list_files", folder).splitlines() == [
        head,
        "  a.md (11 bytes)",
        "  b.txt (10 bytes)",
        "  p.png (5 bytes)",
    ]
    several = {"path": "/home/u/docs/", "pattern": "*.md|*.txt", "recursive": "yes", "head_limit": 2}
    assert output(store, run, "list_files", several).splitlines()[1:] == [
        "  a.md (11 bytes)",
        "  b.txt (10 bytes)",
        "  ... (1 more)",
    ]
    hidden = output(store, run, "list_files", {**folder, "include_hidden": True})
    assert "  .env (6 bytes)" in hidden
    none = output(store, run, "list_files", {**folder, "pattern": "*.py"})
    assert none.splitlines()[1:] == ["  (no attached entries)"]


def test_skim_folders(store: InMemoryArtifactStore, run: RunState) -> None:
    text = output(store, run, "skim_folders", {"paths": ["/home/u/docs/sub", "/none", "/home/u"]})
    assert text.splitlines()[:3] == [f"Folder map for '/home/u/docs/sub' ({CLOSED}):", "  c.md (4 bytes)", ""]
    assert f"Folder map for '/home/u' ({CLOSED}):" in text
    assert "  docs/sub/c.md (4 bytes)" in text


def test_a_folder_map_is_bounded(run: RunState) -> None:
    store = InMemoryArtifactStore()
    for number in range(205):
        attach(store, f"{number}", path=f"/x/{number:03}")
    lines = output(store, run, "skim_folders", {"path": "/x"}).splitlines()
    assert len(lines) == 202
    assert lines[-1] == "  ... (5 more)"


def test_skim_files(store: InMemoryArtifactStore, run: RunState) -> None:
    attach(store, "\n".join(str(n) for n in range(1, 20_001)), path="/home/u/long.txt")
    text = output(store, run, "skim_files", {"paths": ["/home/u/long.txt", "/none"], "head_lines": 3})
    lines = text.splitlines()
    assert lines[0].startswith("Attachment: long.txt (id=")
    assert lines[2:5] == ["1: 1", "2: 2", "3: 3"]
    assert lines[6].startswith("Error: no attachment matches handle '/none'")
    default = output(store, run, "skim_files", {"paths": "/home/u/long.txt"}).splitlines()
    assert default[-1] == "25: 25"


def test_search_files(store: InMemoryArtifactStore, run: RunState) -> None:
    text = output(store, run, "search_files", {"pattern": "BETA", "path": "/home/u/docs"})
    assert text.splitlines()[1:] == [
        "",
        "File: /home/u/docs/a.md",
        "  2: beta",
        "",
        "File: /home/u/docs/b.txt",
        "  1: Beta here",
    ]
    one = output(store, run, "search_files", {"pattern": "a", "path": "/home/u/docs/a.md", "head_limit": 1})
    assert one.splitlines()[2:] == ["File: /home/u/docs/a.md", "  1: alpha"]
    first = output(store, run, "search_files", {"query": "a", "pattern": "a", "path": "/x", "max_hits": 1})
    assert first.count("File: ") == 1
    none = output(store, run, "search_files", {"pattern": "zzz", "path": "/home/u"})
    assert none == "No matches found in session attachments."


def test_a_bad_pattern(store: InMemoryArtifactStore, run: RunState) -> None:
    found = answer(store, run, "search_files", {"pattern": "(", "path": "/home/u"})
    assert found["success"] is False
    assert found["error"].startswith("Invalid regex pattern '(': ")


def test_relative_handles_below_an_absolute_folder(run: RunState) -> None:
    store = InMemoryArtifactStore()
    attach(store, "x", path="docs/a.md")
    assert "  a.md (1 bytes)" in output(store, run, "list_files", {"directory_path": "/home/u/docs"})


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("read_file", {"file_path": "/home/u/docs/none.md"}),
        ("list_files", {"directory_path": "/none"}),
        ("skim_folders", {"paths": ["/none"]}),
        ("skim_files", {"paths": ["/none"]}),
        ("write_file", {"file_path": "/home/u/docs/a.md", "content": "x"}),
    ],
)
def test_without_a_match_the_policy_stands(
    store: InMemoryArtifactStore, run: RunState, tool: str, arguments: dict[str, Any]
) -> None:
    assert answer(store, run, tool, arguments)["error"].startswith("Path escapes workspace_root: ")


def test_nobody_elses_attachments(store: InMemoryArtifactStore, run: RunState) -> None:
    asked = {"pattern": "beta", "path": "/home/u/docs"}
    for session_id in (None, "other"):
        run.session_id = session_id
        for tool in ("read_file", "search_files", "list_files"):
            arguments = {**asked, "file_path": "/home/u/docs/a.md"} if tool == "read_file" else asked
            assert answer(store, run, tool, arguments)["success"] is False
    run.session_id = SESSION
    assert answer(None, run, "read_file", {"file_path": "/home/u/docs/a.md"})["success"] is False


def test_answers_stand_beside_a_wait(store: InMemoryArtifactStore, run: RunState) -> None:
    calls = [call("read_file", {"file_path": "/home/u/docs/a.md"}, "1"), call("t", None, "2")]
    outcome = handled(PassthroughToolExecutor(), calls, run=run, artifact_store=store)
    assert outcome.wait is not None
    assert outcome.wait.details is not None
    assert outcome.wait.details["pre_results_by_index"]["0"]["success"] is True
    assert outcome.wait.details["blocked_by_index"] == {}


def test_options_that_the_hosts_tool_does_not_take_count(store: InMemoryArtifactStore, run: RunState) -> None:
    tools = MappingToolExecutor({"list_files": lambda directory_path: directory_path})
    asked = call("list_files", {"directory_path": "/home/u/docs", "recursive": True, "include_hidden": True})
    (found,) = results(handled(tools, [asked], run=run, artifact_store=store))
    assert "sub/c.md" in found["output"]
    assert ".env" in found["output"]
