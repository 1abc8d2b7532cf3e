"""Opening a session's attachments (`spec/04 §9.5`)."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from abstractruntime.storage.artifacts import InMemoryArtifactStore

from .attached import attach, open_it

LINES = "".join(f"line {number}\n" for number in range(1, 31))


@pytest.fixture
def store() -> InMemoryArtifactStore:
    return InMemoryArtifactStore()


def sha(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def test_text_with_numbered_lines(store: InMemoryArtifactStore) -> None:
    artifact_id = attach(store, LINES, path="docs/a.md")
    success, output, error = open_it(store, artifact_id=artifact_id, start_line=9, end_line=10)
    assert (success, error) == (True, None)
    assert output == {
        "rendered": f"Attachment: docs/a.md (id={artifact_id}, sha={sha(LINES)}, lines 9-10)\n\n"
        " 9: line 9\n10: line 10",
        "content_text": "line 9\nline 10",
        "artifact_id": artifact_id,
        "handle": "docs/a.md",
        "sha256": sha(LINES),
        "content_type": "text/plain",
        "derived_from_content_type": None,
        "derived_text_content_type": None,
        "derived_error": None,
        "size_bytes": len(LINES),
        "start_line": 9,
        "end_line": 10,
        "truncated": False,
    }


@pytest.mark.parametrize(
    ("start", "end", "shown"),
    [(-3, 25, (1, 25)), (40, None, (30, 30)), (5, 2, (5, 5)), (22, 99, (22, 30)), ("7", 7.0, (7, 7))],
)
def test_ranges_are_moved_into_the_text(
    store: InMemoryArtifactStore, start: Any, end: Any, shown: tuple[int, int]
) -> None:
    attach(store, LINES, path="a.md")
    output = open_it(store, handle="a.md", start_line=start, end_line=end)[1]
    assert (output["start_line"], output["end_line"]) == shown


@pytest.mark.parametrize("name", ["start_line", "end_line", "max_chars"])
@pytest.mark.parametrize("value", ["ten", 1.5, True, [], float("inf"), float("nan")])
@pytest.mark.weakness("spec/04 §16.7")
def test_a_bad_number_is_a_failed_result(store: InMemoryArtifactStore, name: str, value: Any) -> None:
    attach(store, LINES, path="a.md")
    success, output, error = open_it(store, handle="a.md", **{name: value})
    assert not success
    assert error is not None
    assert error.startswith(f"{name} must be a whole number")
    assert output["rendered"] == f"Error: {error}."


@pytest.mark.parametrize(
    ("handle", "path", "found"),
    [
        ("@./docs/a.md", "docs/a.md", True),
        ("a.md", "docs/a.md", True),
        ("/repo/docs/a.md", "docs/a.md", True),
        ("docs/a.md", "/repo/docs/a.md", True),
        ("ocs/a.md", "/repo/docs/a.md", False),
        ("x/a.md", "docs/a.md", False),
        ("A.md", "docs/a.md", False),
    ],
)
def test_handles(store: InMemoryArtifactStore, handle: str, path: str, found: bool) -> None:
    attach(store, "x", path=path)
    assert open_it(store, handle=handle)[0] is found


def test_an_unknown_id_may_be_a_handle(store: InMemoryArtifactStore) -> None:
    attach(store, "x", path="a.md")
    assert open_it(store, artifact_id="a.md")[0]
    assert open_it(store, artifact_id="nothing", handle="a.md")[0]
    assert open_it(store, artifact_id="a.md", handle="nothing")[2] == "attachment not found"


@pytest.mark.weakness("spec/04 §16.15")
def test_only_this_sessions_attachments(store: InMemoryArtifactStore) -> None:
    others = attach(store, "secret", path="a.md", session_id="s2")
    evidence = attach(store, "kept", path="b.md", kind="evidence")
    for artifact_id in (others, evidence):
        success, output, error = open_it(store, artifact_id=artifact_id)
        assert (success, error) == (False, "attachment not found")
        assert "secret" not in output["rendered"]


@pytest.mark.parametrize(
    ("arguments", "error", "rendered"),
    [
        (
            {"session_id": " ", "handle": "a"},
            "session_id is required",
            "Error: session_id is required to open attachments.",
        ),
        ({}, "missing artifact_id/handle", "Error: provide artifact_id or handle."),
        (
            {"handle": "zzz.md"},
            "attachment not found",
            "Error: no attachment matches handle 'zzz.md' in this session.",
        ),
    ],
)
def test_what_can_not_be_opened(
    store: InMemoryArtifactStore, arguments: dict[str, Any], error: str, rendered: str
) -> None:
    attach(store, "x", path="a.md")
    success, output, told = open_it(store, **arguments)
    assert (success, told, output["rendered"]) == (False, error, rendered)


def test_suggestions_by_name_then_stem_then_path(store: InMemoryArtifactStore) -> None:
    paths = ["report/other.md", "x/report_v2.md", "y/report.md", "port.txt", "unlike.md"]
    for path in paths:
        attach(store, path, path=path)
    _, output, _ = open_it(store, handle="elsewhere/report.md")
    handles = [each["handle"] for each in output["suggestions"]]
    assert handles == ["y/report.md", "port.txt", "x/report_v2.md", "report/other.md"]
    assert set(output["suggestions"][0]) == {"handle", "artifact_id", "sha256"}
    assert "Did you mean:" in output["rendered"]
    for number in range(9):
        attach(store, str(number), path=f"{number}/report.md")
    assert len(open_it(store, handle="elsewhere/report.md")[1]["suggestions"]) == 5


def test_several_files_of_a_name_are_ambiguous(store: InMemoryArtifactStore) -> None:
    for number in range(7):
        attach(store, f"content {number}", path=f"{number}/a.md")
    success, output, error = open_it(store, handle="a.md")
    assert (success, error) == (False, "multiple matches")
    assert output["rendered"] == (
        "Error: multiple attachments match 'a.md'. Provide expected_sha256 or artifact_id."
    )
    assert [each["handle"] for each in output["candidates"]] == [f"{n}/a.md" for n in (6, 5, 4, 3, 2)]


@pytest.mark.parametrize(
    "written", [sha("content 3"), sha("content 3")[:8].upper(), "sha256:" + sha("content 3")]
)
def test_a_hash_or_its_beginning_decides(store: InMemoryArtifactStore, written: str) -> None:
    for number in range(5):
        attach(store, f"content {number}", path=f"{number}/a.md")
    success, output, _ = open_it(store, handle="a.md", expected_sha256=written)
    assert (success, output["content_text"]) == (True, "content 3")
    assert open_it(store, handle="3/a.md", expected_sha256="malformed")[0]
    assert open_it(store, handle="3/a.md", expected_sha256="0" * 64)[2] == "attachment not found"


def test_of_one_file_the_newest_version_is_meant(store: InMemoryArtifactStore) -> None:
    for text in ("old", "new"):
        attach(store, text, path="a.md", source="tool.read_file")
    assert open_it(store, handle="a.md")[1]["content_text"] == "new"
    assert open_it(store, handle="a.md", expected_sha256=sha("old")[:8])[1]["content_text"] == "old"


def test_a_lost_artifact(store: InMemoryArtifactStore, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact_id = attach(store, "x", path="a.md")
    monkeypatch.setattr(store, "load", lambda artifact_id: None)
    assert open_it(store, artifact_id=artifact_id)[2] == "artifact not found"


def test_text_that_is_none(store: InMemoryArtifactStore) -> None:
    attach(store, b"\xff\xfe\x00", path="a.md")
    success, output, error = open_it(store, handle="a.md")
    assert (success, error) == (False, "binary content")
    assert output["rendered"] == "Error: attachment is not valid UTF-8 text (binary?)"


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/xml", "text/x-python; charset=utf-8"]
)
def test_text_types(store: InMemoryArtifactStore, content_type: str) -> None:
    attach(store, "{}", path="a", content_type=content_type)
    assert open_it(store, handle="a")[1]["content_text"] == "{}"


def test_empty_text(store: InMemoryArtifactStore) -> None:
    artifact_id = attach(store, "", path="a.md")
    success, output, _ = open_it(store, handle="a.md")
    assert success
    assert output["rendered"].startswith(f"Attachment: a.md (id={artifact_id}, sha={sha('')}, lines 0-0)")
    assert not {"content_text", "start_line", "end_line", "truncated"} & set(output)


def test_anything_else_becomes_media(store: InMemoryArtifactStore) -> None:
    artifact_id = attach(store, b"\x89PNG", path="pics/a.png", content_type="image/png")
    success, output, _ = open_it(store, handle="a.png")
    assert success
    assert output["media"] == [
        {
            "$artifact": artifact_id,
            "filename": "a.png",
            "source_path": "pics/a.png",
            "content_type": "image/png",
        }
    ]
    head, note = output["rendered"].split("\n\n")
    assert head.endswith(", image/png, 4 bytes)")
    assert note == "(binary/media attachment; it will be attached as media for the next LLM call)"
    assert "start_line" not in output


# -- size ------------------------------------------------------------------------------------------------


def test_no_excerpt_is_longer_than_asked_for(store: InMemoryArtifactStore) -> None:
    attach(store, LINES, path="a.md")
    whole = len(open_it(store, handle="a.md", max_chars=0)[1]["rendered"])
    for most in range(1, whole + 2):
        output = open_it(store, handle="a.md", max_chars=most)[1]
        assert len(output["rendered"]) <= most
        assert output["truncated"] is (most < whole)
        shown = output["rendered"].count(": line ")
        if most > 200:
            assert output["end_line"] == output["start_line"] + shown - 1
            assert f"lines 1-{output['end_line']})" in output["rendered"]
            assert output["content_text"].split("\n")[-1] == f"line {output['end_line']}"
        if output["truncated"] and most > 200:
            assert output["rendered"].endswith("\n… (truncated)")


def test_at_least_a_part_of_the_first_line(store: InMemoryArtifactStore) -> None:
    attach(store, "x" * 5000 + "\nsecond", path="a.md")
    output = open_it(store, handle="a.md", max_chars=400)[1]
    assert len(output["rendered"]) <= 400
    assert "1: xxxx" in output["rendered"]
    assert "x…\n… (truncated)" in output["rendered"]
    assert (output["start_line"], output["end_line"], output["truncated"]) == (1, 1, True)


@pytest.mark.parametrize("most", [0, -1])
def test_no_cap(store: InMemoryArtifactStore, most: int) -> None:
    attach(store, "y" * 99 + "\n" + "x" * 60_000, path="a.md")
    assert open_it(store, handle="a.md", max_chars=most)[1]["truncated"] is False


def test_a_preview_of_a_small_file_shows_all(store: InMemoryArtifactStore) -> None:
    attach(store, "z" * 39 + "\n" + ("z" * 39 + "\n") * 599, path="a.md")  # 24 000 characters
    assert open_it(store, handle="a.md")[1]["end_line"] == 600
    assert open_it(store, handle="a.md", end_line=20)[1]["end_line"] == 600
    assert open_it(store, handle="a.md", end_line=21)[1]["end_line"] == 21
    assert open_it(store, handle="a.md", max_chars=8001)[1]["truncated"] is True
    assert open_it(store, handle="a.md", start_line=2, end_line=20)[1]["end_line"] == 20


# -- documents -------------------------------------------------------------------------------------------


def pdf(text: str) -> bytes:
    """A page with this text."""
    shown = f"BT /F1 18 Tf 20 100 Td ({text}) Tj ET"
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 300 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>>>",
        f"<</Length {len(shown)}>>stream\n{shown}\nendstream",
        "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    file, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(file))
        file += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    return (
        f"{file}xref\n0 {size}\n0000000000 65535 f \n{table}"
        f"trailer<</Size {size}/Root 1 0 R>>\nstartxref\n{len(file)}\n%%EOF\n"
    ).encode()


@pytest.mark.filterwarnings("default")  # of AbstractCore and pypdf
def test_text_of_a_pdf(store: InMemoryArtifactStore) -> None:
    pytest.importorskip("abstractcore", reason="AbstractCore reads PDF files")
    pytest.importorskip("pypdf", reason="AbstractCore's way to read PDF files")
    attach(store, pdf("Hello whales"), path="a.pdf", content_type="application/pdf")
    success, output, _ = open_it(store, handle="a.pdf")
    assert success
    assert "Hello whales" in output["content_text"]
    assert output["derived_from_content_type"] == "application/pdf"
    assert output["derived_text_content_type"] == "text/markdown"
    assert output["derived_error"] is None
    assert output["start_line"] == 1


def test_a_pdf_without_text_becomes_media(store: InMemoryArtifactStore) -> None:
    attach(store, b"%PDF-1.4 broken", path="a.pdf", content_type="application/pdf")
    success, output, _ = open_it(store, handle="a.pdf")
    assert success
    assert output["media"][0]["content_type"] == "application/pdf"
    assert output["derived_error"]
