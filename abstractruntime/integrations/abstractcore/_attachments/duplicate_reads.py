"""The second time a model reads the same lines it gets a stub that points to the first (`spec/04 §9.4`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .index import is_absolute, normalised_handle, normalised_sha256, short_name
from .tool_messages import parse_tool_message

__all__ = ["dedup_messages_view"]

MAX_CANDIDATES = 3

_FILE = re.compile(r"File: (?P<path>.+) \((?P<count>[\d,]+) lines?\)\s*")
_ATTACHMENT = re.compile(r"Attachment: (?P<handle>.+) \(id=(?P<id>[^,)\s]+)(?P<rest>[^)]*)\).*")
_SHA = re.compile(r"\bsha=([0-9a-fA-F]{8,64})")
_LINES = re.compile(r"\blines (\d+)-(\d+)")
_NUMBER = re.compile(r"\s*(\d+):")


def dedup_messages_view(
    messages: Iterable[Any], *, session_attachments: Iterable[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The messages with repeated ``read_file`` and ``open_attachment`` outputs replaced by stubs.

    The first occurrence stays as it is, and so does the given list: what comes back are copies. Entries that
    are no dicts are dropped.

    Args:
        session_attachments: what `list_session_attachments` gives; with it a stub says how to re-open.
    """
    index = [entry for entry in session_attachments or () if isinstance(entry, Mapping)]
    seen: set[tuple[object, ...]] = set()
    view = []
    for message in messages:
        if not isinstance(message, dict):
            continue
        shown = dict(message)
        view.append(shown)
        output = _output(message, index)
        if output is None:
            continue
        if output.identity in seen:
            shown["content"] = output.stub
        seen.add(output.identity)
    return view


@dataclass(frozen=True, slots=True)
class _Output:
    """What was shown, and what stands for it the second time."""

    identity: tuple[object, ...]
    stub: str


def _output(message: dict[str, Any], index: list[Mapping[str, Any]]) -> _Output | None:
    parsed = parse_tool_message(message)
    if parsed is None:
        return None
    if parsed.tool_name == "read_file":
        return _file_output(parsed.body, index)
    if parsed.tool_name == "open_attachment":
        return _attachment_output(parsed.body)
    return None


def _file_output(body: str, index: list[Mapping[str, Any]]) -> _Output | None:
    first, _, rest = body.partition("\n")
    found = _FILE.fullmatch(first)
    if found is None:
        return None
    path = normalised_handle(found["path"])
    entries = _entries_of(path, index)
    known_as = normalised_handle(entries[0].get("handle")) if entries else path
    content = rest.strip("\n")
    lines = _line_range(content)
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
    stub = f"[read_file]: (duplicate) File already shown above: {short_name(path)}{_lines_text(lines)}."
    if entries:
        stub += f"\n{_again(str(entries[0].get('artifact_id')), lines)}{_attached(entries)}"
    return _Output(("read_file", known_as, digest, lines), stub)


def _attachment_output(body: str) -> _Output | None:
    found = _ATTACHMENT.fullmatch(body.partition("\n")[0].rstrip())
    if found is None:
        return None
    sha, numbers = _SHA.search(found["rest"]), _LINES.search(found["rest"])
    lines = (int(numbers[1]), int(numbers[2])) if numbers else None
    artifact_id = found["id"]
    stub = (
        f"[open_attachment]: (duplicate) Attachment already shown above: {short_name(found['handle'])}"
        f"{_lines_text(lines)} (id={artifact_id}).\n{_again(artifact_id, lines)}"
    )
    return _Output(("open_attachment", artifact_id, sha[1].lower() if sha else None, lines), stub)


def _entries_of(path: str, index: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The attachments of this file. An absolute path stands for the one relative handle it ends with."""
    handles = {normalised_handle(entry.get("handle")) for entry in index} - {""}
    wanted = {path} if path in handles else set()
    if not wanted and is_absolute(path):
        ending = {handle for handle in handles if not is_absolute(handle) and path.endswith("/" + handle)}
        wanted = ending if len(ending) == 1 else set()
    return [entry for entry in index if normalised_handle(entry.get("handle")) in wanted]


def _line_range(content: str) -> tuple[int, int] | None:
    numbers = [int(found[1]) for found in map(_NUMBER.match, content.split("\n")) if found]
    return (numbers[0], numbers[-1]) if numbers else None


def _lines_text(lines: tuple[int, int] | None) -> str:
    return "" if lines is None else f" lines {lines[0]}-{lines[1]}"


def _again(artifact_id: str, lines: tuple[int, int] | None) -> str:
    excerpt = "" if lines is None else f", start_line={lines[0]}, end_line={lines[1]}"
    return f"Re-open with open_attachment(artifact_id='{artifact_id}'{excerpt})."


def _attached(entries: list[Mapping[str, Any]]) -> str:
    if len(entries) == 1:
        sha = normalised_sha256(entries[0].get("sha256"))
        return f" Attached artifact: id={entries[0].get('artifact_id')}" + (
            f", sha={sha[:8]}…" if sha else ""
        )
    candidates = ", ".join(
        f"{entry.get('artifact_id')}:{(normalised_sha256(entry.get('sha256')) or '?')[:8]}…"
        for entry in entries[:MAX_CANDIDATES]
    )
    return f" Attached candidates: {candidates} (specify expected_sha256)"
