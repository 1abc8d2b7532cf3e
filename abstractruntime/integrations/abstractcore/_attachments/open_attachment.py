"""The tool ``open_attachment``: text as an excerpt, anything else as media (`spec/04 §9.5`)."""

from __future__ import annotations

from typing import Any

from abstractruntime.storage.artifact_base import ArtifactStore

from .excerpts import PREVIEW_CHARS, excerpt, preview_range, text_lines
from .index import Attachment, AttachmentIndex, basename, normalised_sha256, short_name
from .media_text import MARKDOWN, DocumentTextError, document_text
from .selection import MAX_NAMED, as_candidate, distinct_files, matching, similar
from .text_types import bare_type, is_text_type

__all__ = ["OpenResult", "execute_open_attachment", "open_in"]

OpenResult = tuple[bool, "dict[str, Any] | None", "str | None"]
"""``(success, output, error)``; ``output["rendered"]`` is what the model reads, also of a failure."""

PDF = "application/pdf"
AS_MEDIA = "(binary/media attachment; it will be attached as media for the next LLM call)"


def execute_open_attachment(
    *,
    artifact_store: ArtifactStore,
    session_id: str | None,
    artifact_id: str | None = None,
    handle: str | None = None,
    expected_sha256: str | None = None,
    start_line: int = 1,
    end_line: int | None = None,
    max_chars: int = PREVIEW_CHARS,
) -> OpenResult:
    """Open one of the session's attachments.

    Only artifacts of this session are found, whoever's id is given. A file that was read several times is
    its newest version, unless ``expected_sha256`` names another.

    Args:
        artifact_id, handle: at least one; an unknown id falls back to the handle.
        expected_sha256: at least its first 8 digits; a malformed one is ignored.
        start_line, end_line: 1-based, moved into the text; ``None`` = to its end.
        max_chars: longest ``rendered``; 0 and less = no limit.

    Returns:
        success, output and error. Output of text: ``rendered``, ``content_text``, ``artifact_id``,
        ``handle``, ``sha256``, ``content_type``, ``derived_from_content_type``,
        ``derived_text_content_type``, ``derived_error``, ``size_bytes``, ``start_line``, ``end_line``,
        ``truncated``. Of anything else: ``rendered``, ``media`` and what is known of it.
    """
    index = AttachmentIndex(artifact_store, session_id)
    return open_in(
        index,
        artifact_id=artifact_id,
        handle=handle,
        expected_sha256=expected_sha256,
        start_line=start_line,
        end_line=end_line,
        max_chars=max_chars,
    )


def open_in(
    index: AttachmentIndex,
    *,
    artifact_id: object = None,
    handle: object = None,
    expected_sha256: object = None,
    start_line: object = 1,
    end_line: object = None,
    max_chars: object = PREVIEW_CHARS,
) -> OpenResult:
    """`execute_open_attachment` with an index that may be shared, and arguments as a model wrote them."""
    try:
        first, last = _whole("start_line", start_line, 1), _whole("end_line", end_line, None)
        most = _whole("max_chars", max_chars, PREVIEW_CHARS)
    except ValueError as exc:
        return _failed(str(exc), f"Error: {exc}.")
    wanted_id, wanted_handle = _text(artifact_id), _text(handle)
    if not index.session_id:
        return _failed("session_id is required", "Error: session_id is required to open attachments.")
    if not wanted_id and not wanted_handle:
        return _failed("missing artifact_id/handle", "Error: provide artifact_id or handle.")
    found = matching(index.entries(), wanted_id, wanted_handle, normalised_sha256(expected_sha256))
    files = distinct_files(found)
    asked = wanted_handle or wanted_id
    if not files:
        return _not_found(index.entries(), asked)
    if len(files) > 1:
        return _several(files, asked)
    return _open(index.artifact_store, files[0], first or 1, last, PREVIEW_CHARS if most is None else most)


def _open(
    store: ArtifactStore, attachment: Attachment, start_line: int, end_line: int | None, max_chars: int
) -> OpenResult:
    artifact = store.load(attachment.artifact_id)
    if artifact is None:
        rendered = f"Error: the content of attachment '{attachment.handle}' is not stored any more."
        return _failed("artifact not found", rendered)
    content_type = bare_type(attachment.content_type)
    if content_type == PDF:
        try:
            text = document_text(artifact.content, ".pdf")
        except DocumentTextError as exc:
            return _as_media(attachment, derived_error=str(exc))
        return _as_text(attachment, text, start_line, end_line, max_chars, derived_from=content_type)
    if not is_text_type(content_type):
        return _as_media(attachment)
    try:
        text = artifact.content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return _failed("binary content", "Error: attachment is not valid UTF-8 text (binary?)")
    return _as_text(attachment, text, start_line, end_line, max_chars)


def _as_text(
    attachment: Attachment,
    text: str,
    start_line: int,
    end_line: int | None,
    max_chars: int,
    *,
    derived_from: str | None = None,
) -> OpenResult:
    last, most = preview_range(text, attachment.size_bytes, start_line, end_line, max_chars)
    sha = f", sha={attachment.sha256}" if attachment.sha256 else ""
    named = f"Attachment: {short_name(attachment.handle)} (id={attachment.artifact_id}{sha}"
    lines = text_lines(text)
    shown = excerpt(lines, start_line, last, most, lambda first, end: f"{named}, lines {first}-{end})")
    output: dict[str, Any] = {"rendered": shown.rendered}
    if lines:
        output["content_text"] = shown.content
    output |= _facts(attachment)
    output["derived_from_content_type"] = derived_from
    output["derived_text_content_type"] = MARKDOWN if derived_from else None
    output["derived_error"] = None
    if lines:
        output["start_line"], output["end_line"] = shown.start_line, shown.end_line
        output["truncated"] = shown.truncated
    return True, output, None


def _as_media(attachment: Attachment, *, derived_error: str | None = None) -> OpenResult:
    sha = f", sha={attachment.sha256}" if attachment.sha256 else ""
    head = (
        f"Attachment: {short_name(attachment.handle)} (id={attachment.artifact_id}{sha}, "
        f"{attachment.content_type}, {attachment.size_bytes:,} bytes)"
    )
    media: dict[str, Any] = {"$artifact": attachment.artifact_id}
    if attachment.filename:
        media["filename"] = attachment.filename
    if attachment.path:
        media["source_path"] = attachment.path
    if attachment.content_type:
        media["content_type"] = attachment.content_type
    output = {"rendered": f"{head}\n\n{AS_MEDIA}", "media": [media], **_facts(attachment)}
    if derived_error is not None:
        output["derived_error"] = derived_error
    return True, output, None


def _facts(attachment: Attachment) -> dict[str, Any]:
    return {
        "artifact_id": attachment.artifact_id,
        "handle": attachment.handle,
        "sha256": attachment.sha256,
        "content_type": attachment.content_type,
        "size_bytes": attachment.size_bytes,
    }


def _not_found(attachments: list[Attachment], asked: str) -> OpenResult:
    suggestions = [as_candidate(each) for each in similar(attachments, asked)]
    rendered = f"Error: no attachment matches handle '{asked}' in this session."
    if suggestions:
        listed = [f"- {short_name(each['handle'])} (id={each['artifact_id']})" for each in suggestions]
        rendered = "\n".join([rendered, "Did you mean:", *listed])
    return _failed("attachment not found", rendered, suggestions=suggestions)


def _several(files: list[Attachment], asked: str) -> OpenResult:
    rendered = (
        f"Error: multiple attachments match '{basename(asked) if len(asked) > 500 else asked}'. "
        "Provide expected_sha256 or artifact_id."
    )
    candidates = [as_candidate(each) for each in files[:MAX_NAMED]]
    return _failed("multiple matches", rendered, candidates=candidates)


def _failed(error: str, rendered: str, **more: Any) -> OpenResult:
    return False, {"rendered": rendered, **more}, error


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _whole(name: str, value: object, default: int | None) -> int | None:
    """A whole number as models write them: ``3``, ``3.0``, ``"3"``; nothing = the default."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return default
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError
        number = float(value)
        if number != int(number):
            raise ValueError
        return int(number)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} must be a whole number, not {str(value)[:40]!r}") from None
