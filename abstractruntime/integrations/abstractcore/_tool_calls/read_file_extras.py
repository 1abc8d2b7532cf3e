"""What happens around an executed ``read_file`` (`spec/04 §7.7`): a file that is gone may be attached, a file
that was read becomes an attachment, and a very large answer gives way to a hint."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from abstractruntime.core.models import RunState

from .._attachments.index import Attachment, AttachmentIndex, short_name
from .._attachments.registration import OwnerRuns, register_read_file
from .._attachments.text import read_file_answer
from .._workspace.scope import WorkspaceScope
from .shapes import ToolCall, ToolResult

__all__ = ["READ_FILE", "after_read_file"]

logger = logging.getLogger(__name__)

READ_FILE = "read_file"

_MAX_INLINE_VARIABLE = "ABSTRACTRUNTIME_MAX_INLINE_BYTES"
_MAX_INLINE_BYTES = 262_144


def after_read_file(
    run: RunState,
    call: ToolCall,
    result: ToolResult,
    *,
    index: AttachmentIndex,
    scope: WorkspaceScope | None,
    run_store: OwnerRuns | None,
) -> ToolResult:
    """The result the model gets.

    Args:
        call: as it was executed.
        index: of the run's session.
        scope: handles are relative to its root; without one they are absolute.
        run_store: where the session's owner run is created if it is missing.
    """
    path = _path(call["arguments"])
    if path is None:
        return result
    try:
        if result.get("success") is True:
            return _registered(result, path, index, scope, run_store)
        return _from_attachment(call, result, path, index)
    except Exception:
        # The tool has answered; what its answer could become beyond that must not cost it (`DESIGN §1.3`).
        logger.warning("read_file of run %s: attachments not used", run.run_id, exc_info=True)
        return result


def _path(arguments: dict[str, Any]) -> str | None:
    values = (arguments.get(name) for name in ("file_path", "path", "filename", "file"))
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), None)


def _from_attachment(call: ToolCall, result: ToolResult, path: str, index: AttachmentIndex) -> ToolResult:
    answer = read_file_answer(index, path, call["arguments"])
    if answer.output is None:
        return result
    return {**result, "success": True, "output": answer.output, "error": None}


def _registered(
    result: ToolResult,
    path: str,
    index: AttachmentIndex,
    scope: WorkspaceScope | None,
    run_store: OwnerRuns | None,
) -> ToolResult:
    output = result.get("output")
    if not isinstance(output, str) or not output.lstrip().startswith("File:"):
        return result
    full = Path(path).expanduser()
    full = full if full.is_absolute() else Path.cwd() / full
    kept = register_read_file(
        index,
        path=full,
        handle=_handle(full, scope),
        run_store=run_store,
        follow_links=scope is None,
    )
    if kept is None or len(output.encode()) <= _max_inline_bytes():
        return result
    return {**result, "output": _stub(kept)}


def _handle(path: Path, scope: WorkspaceScope | None) -> str:
    if scope is not None and path.is_relative_to(scope.root):
        return path.relative_to(scope.root).as_posix()
    return str(path)


def _stub(kept: Attachment) -> str:
    sha = f", sha={kept.sha256[:8]}…" if kept.sha256 else ""
    return (
        f"[read_file]: (stored as attachment) @{short_name(kept.handle)} (id={kept.artifact_id}{sha}).\n"
        f"Use open_attachment(artifact_id='{kept.artifact_id}', start_line=1, end_line=200) "
        "for bounded excerpts."
    )


def _max_inline_bytes() -> int:
    try:
        return max(1, int(os.environ.get(_MAX_INLINE_VARIABLE, "")))
    except ValueError:
        return _MAX_INLINE_BYTES
