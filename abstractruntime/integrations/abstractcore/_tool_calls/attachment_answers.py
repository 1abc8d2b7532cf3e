"""Attachments that answer for paths outside of the workspace (`spec/04 §7.7`).

The user has attached these files, so a model may see them although their paths are closed to tools. The file
system is not touched.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import islice
from typing import Any

from .._attachments.excerpts import text_lines
from .._attachments.index import Attachment, AttachmentIndex, basename
from .._attachments.open_attachment import open_in
from .._attachments.selection import distinct_files
from .._attachments.text import as_handle, attached_text, read_file_answer
from ..flags import boolish

__all__ = ["Answer", "attachment_answer"]

_MAX_FOLDER_ROWS = 200
_SKIM_LINES, _MAX_SKIM_LINES, _SKIM_CHARS = 25, 400, 12_000
_MAX_SEARCHED_LINE = 2_000
_CLOSED = "attachments only; filesystem access blocked"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the attachments say: output, or an error."""

    output: str | None
    error: str | None = None


def attachment_answer(
    index: AttachmentIndex | None, tool_name: str, args: Mapping[str, Any]
) -> Answer | None:
    """The answer to a call whose path the workspace policy forbids; ``None`` if no attachment matches.

    Args:
        index: of the run's session; ``None`` without a store.
        args: canonical, with the path as it was given.
    """
    answer = _ANSWERS.get(tool_name)
    if answer is None or index is None or not index.session_id:
        return None
    return answer(index, args)


# -- the tools ----------------------------------------------------------------------------------


def _read_file(index: AttachmentIndex, args: Mapping[str, Any]) -> Answer | None:
    path = _first(args, "file_path", "path", "filename", "file")
    if path is None:
        return None
    answer = read_file_answer(index, path, args)
    if answer.error == "attachment not found":
        return None
    return Answer(answer.output, answer.error)


def _list_files(index: AttachmentIndex, args: Mapping[str, Any]) -> Answer | None:
    path = _first(args, "directory_path", "path", "folder")
    inside = [] if path is None else _inside(index, path)
    if path is None or not inside:
        return None
    pattern = str(args.get("pattern") or "*")
    hidden, recursive = boolish(args.get("include_hidden")), boolish(args.get("recursive"))
    shown = [
        (name, each)
        for name, each in inside
        if (recursive or "/" not in name) and (hidden or not _is_hidden(name)) and _matches(name, pattern)
    ]
    excluded = "hidden entries included" if hidden else "hidden entries excluded"
    lines = [f"Entries in '{path}' matching '{pattern}' ({excluded}; {_CLOSED}):"]
    limit = _limit(args.get("head_limit"), 10)
    lines += [f"  {name} ({each.size_bytes:,} bytes)" for name, each in shown[:limit]]
    if limit is not None and len(shown) > limit:
        lines.append(f"  ... ({len(shown) - limit} more)")
    if not shown:
        lines.append("  (no attached entries)")
    return Answer("\n".join(lines))


def _skim_folders(index: AttachmentIndex, args: Mapping[str, Any]) -> Answer | None:
    maps = [
        _folder_map(path, inside)
        for path in _several(args, "paths", "path", "folder")
        if (inside := _inside(index, path))
    ]
    return Answer("\n\n".join(maps)) if maps else None


def _folder_map(path: str, inside: Sequence[tuple[str, Attachment]]) -> str:
    lines = [f"Folder map for '{path}' ({_CLOSED}):"]
    lines += [f"  {name} ({each.size_bytes:,} bytes)" for name, each in inside[:_MAX_FOLDER_ROWS]]
    if len(inside) > _MAX_FOLDER_ROWS:
        lines.append(f"  ... ({len(inside) - _MAX_FOLDER_ROWS} more)")
    return "\n".join(lines)


def _skim_files(index: AttachmentIndex, args: Mapping[str, Any]) -> Answer | None:
    head = _limit(args.get("head_lines"), _SKIM_LINES) or _SKIM_LINES
    head = min(head, _MAX_SKIM_LINES)
    found: list[str] = []
    is_any = False
    for path in _several(args, "paths", "path", "file_path", "filename", "file"):
        success, output, error = open_in(index, handle=as_handle(path), end_line=head, max_chars=_SKIM_CHARS)
        is_any = is_any or success or error != "attachment not found"
        found.append(str((output or {}).get("rendered") or f"Error: {error}"))
    return Answer("\n\n".join(found)) if is_any else None


def _search_files(index: AttachmentIndex, args: Mapping[str, Any]) -> Answer | None:
    entries = _sorted(distinct_files(index.entries()))
    if not entries:
        return None
    pattern = str(args.get("pattern") or "")
    try:
        search = re.compile(pattern, re.IGNORECASE).search
    except re.error as exc:
        return Answer(None, f"Invalid regex pattern '{pattern}': {exc}")
    path = _first(args, "path", "file_path", "directory_path") or ""
    if path:
        exact = [each for each in entries if _normal(each.handle) == _normal(path)]
        entries = exact or [each for _, each in _inside(index, path)] or entries
    blocks: list[str] = []
    max_hits = _limit(args.get("max_hits"), 8)
    for each in entries:
        if max_hits is not None and len(blocks) >= max_hits:
            break
        hits = _hits(index, each, search, _limit(args.get("head_limit"), 10))
        if hits:
            blocks.append("\n".join([f"File: {each.handle}", *hits]))
    if not blocks:
        return Answer("No matches found in session attachments.")
    heading = f"Search results for pattern '{pattern}' in session attachments ({_CLOSED}):"
    return Answer("\n\n".join([heading, *blocks]))


def _hits(
    index: AttachmentIndex, each: Attachment, search: Callable[[str], object], limit: int | None
) -> list[str]:
    text = attached_text(index, each)
    numbered = enumerate(text_lines(text or ""), start=1)
    found = (f"  {number}: {line}" for number, line in numbered if search(line[:_MAX_SEARCHED_LINE]))
    return list(islice(found, limit))


_ANSWERS: dict[str, Callable[[AttachmentIndex, Mapping[str, Any]], Answer | None]] = {
    "read_file": _read_file,
    "list_files": _list_files,
    "skim_folders": _skim_folders,
    "skim_files": _skim_files,
    "search_files": _search_files,
}


# -- paths and handles --------------------------------------------------------------------------


def _normal(path: str) -> str:
    return as_handle(path).rstrip("/")


def _inside(index: AttachmentIndex, folder: str) -> list[tuple[str, Attachment]]:
    """Attachments under the folder by their path from there, sorted.

    A folder with an absolute path also has those whose relative path begins where it ends, as ``/x/docs`` has
    ``docs/a.md``.
    """
    prefix = _normal(folder)
    found = []
    for each in _sorted(distinct_files(index.entries())):
        name = _below(_normal(each.handle), prefix)
        if name is not None:
            found.append((name, each))
    return found


def _below(handle: str, prefix: str) -> str | None:
    if prefix and handle.startswith(f"{prefix}/"):
        return handle[len(prefix) + 1 :]
    if handle.startswith("/") or not prefix.startswith("/"):
        return None
    parts = handle.split("/")
    for count in range(len(parts) - 1, 0, -1):
        if prefix.endswith("/" + "/".join(parts[:count])):
            return "/".join(parts[count:])
    return None


def _sorted(entries: Sequence[Attachment]) -> list[Attachment]:
    return sorted((each for each in entries if each.handle), key=lambda each: each.handle)


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") for part in name.split("/"))


def _matches(name: str, pattern: str) -> bool:
    globs = [glob.strip() for glob in pattern.split("|") if glob.strip()]
    return any(fnmatch(name, glob) or fnmatch(basename(name), glob) for glob in globs or ["*"])


# -- arguments ----------------------------------------------------------------------------------


def _first(args: Mapping[str, Any], *names: str) -> str | None:
    for name in names:
        value = args.get(name)
        if isinstance(value, str) and value.strip():
            return value.strip()
    return None


def _several(args: Mapping[str, Any], *names: str) -> list[str]:
    for name in names:
        value = args.get(name)
        items = value if isinstance(value, (list, tuple)) else [value]
        found = [item.strip() for item in items if isinstance(item, str) and item.strip()]
        if found:
            return found
    return []


def _limit(value: Any, default: int) -> int | None:
    """How many at most; ``None`` = all, for 0 and less; the default for nothing and for what is no number."""
    if value is None or isinstance(value, bool):
        return default
    try:
        number = int(float(value))
    except (TypeError, ValueError, OverflowError):
        return default
    return number if number > 0 else None
