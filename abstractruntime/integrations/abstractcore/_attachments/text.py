"""Text of attachments, in the form of what ``read_file`` returns (`spec/04 §7.7`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .excerpts import PREVIEW_CHARS
from .index import Attachment, AttachmentIndex
from .open_attachment import open_in

__all__ = ["ReadAnswer", "as_handle", "attached_text", "line_range", "read_file_answer"]

_START = ("start_line", "startLine", "start_line_one_indexed")
_END = ("end_line", "endLine", "end_line_one_indexed_inclusive", "end_line_one_indexed")


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """What ``read_file`` would have returned, or why not."""

    output: str | None
    error: str | None = None


def as_handle(path: str) -> str:
    """A path as handles are written: no scheme, no ``@``, no ``./``, slashes."""
    text = path.strip().replace("\\", "/")
    return text.removeprefix("@").removeprefix("file://").removeprefix("./")


def line_range(args: Mapping[str, Any]) -> dict[str, Any]:
    """Which lines a call of ``read_file`` wants, whatever it calls them."""
    return {"start_line": _first(args, _START), "end_line": _first(args, _END)}


def read_file_answer(index: AttachmentIndex, path: str, args: Mapping[str, Any]) -> ReadAnswer:
    """The attached file that ``path`` names, as ``read_file`` shows files: at most 8000 characters.

    Args:
        path: also what the answer calls it.
        args: of the call; its line range counts.
    """
    success, output, error = open_in(
        index, handle=as_handle(path), max_chars=PREVIEW_CHARS, **line_range(args)
    )
    if not success or output is None:
        return ReadAnswer(None, error or "attachment not found")
    if "media" in output:
        return ReadAnswer(None, "binary content")
    rendered = str(output.get("rendered") or "")
    body = rendered.partition("\n\n")[2]
    count = 0 if not output.get("end_line") else output["end_line"] - output["start_line"] + 1
    sha256 = output.get("sha256")
    sha = f", sha={sha256[:8]}…" if sha256 else ""
    return ReadAnswer(
        f"File: {path} ({count} lines)\n"
        f"(from attachment: @{output['handle']}, id={output['artifact_id']}{sha})\n\n{body}"
    )


def attached_text(index: AttachmentIndex, attachment: Attachment) -> str | None:
    """The whole attachment, if it is UTF-8."""
    artifact = index.artifact_store.load(attachment.artifact_id)
    try:
        return None if artifact is None else artifact.content.decode()
    except UnicodeDecodeError:
        return None


def _first(args: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((args[name] for name in names if args.get(name) not in (None, "")), None)
