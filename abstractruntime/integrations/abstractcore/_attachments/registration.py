"""Files that a tool has read become attachments of the session (`spec/04 §7.7`, §16.24)."""

from __future__ import annotations

import hashlib
import logging
import mimetypes
from pathlib import Path
from typing import Any, Protocol

from abstractruntime.core.models import RunState, utc_now_iso
from abstractruntime.memory.owner_runs import session_owner_run
from abstractruntime.storage.artifact_ids import compute_artifact_id

from .._llm_call.unfollowed_open import open_unfollowed
from .index import READ_AGAIN, Attachment, AttachmentIndex, basename
from .quota import READ_FILE_SOURCE, excess, max_attachment_bytes, session_quota

__all__ = ["OwnerRuns", "register_read_file"]

logger = logging.getLogger(__name__)

PLAIN_TEXT = "text/plain"


class OwnerRuns(Protocol):
    """A run store, as far as the owner run of a session needs it."""

    def load(self, run_id: str) -> RunState | None: ...

    def save(self, run: RunState) -> Any: ...


def register_read_file(
    index: AttachmentIndex,
    *,
    path: Path,
    handle: str,
    run_store: OwnerRuns | None = None,
    follow_links: bool = True,
) -> Attachment | None:
    """Keep the file's present content as an attachment of the index's session.

    The same content under the same handle is kept once. Older versions, and then the files read longest ago,
    give way to the session's quota (`_attachment_quota`); what others have attached never does.

    Args:
        path: the file.
        handle: what it is called: relative to the workspace, or absolute.
        run_store: where the session's owner run is created if it is missing.
        follow_links: ``False`` if ``path`` was judged with its links resolved: then a link in it is refused.

    Returns:
        the attachment; ``None`` without a session, or when the file can't be read or is too large.
    """
    if not index.session_id:
        return None
    most = min(max_attachment_bytes(), session_quota().max_bytes)
    content = _content(path, most, follow_links)
    if content is None:
        return None
    sha256 = hashlib.sha256(content).hexdigest()
    versions = [each for each in index.entries() if each.path == handle]
    known = next((each for each in versions if each.sha256 == sha256), None)
    if known is not None and known.seen_at == max(each.seen_at for each in versions):
        return known
    if run_store is not None:
        _ensure_owner_run(run_store, index)
    kept = _store(index, content, handle, sha256, known)
    index.forget()
    for old in excess(index.entries(), keep=kept.artifact_id):
        index.artifact_store.delete(old.artifact_id)
        index.forget()
    return kept


def _store(
    index: AttachmentIndex, content: bytes, handle: str, sha256: str, known: Attachment | None
) -> Attachment:
    """Two files of the same content are two attachments: the id comes from handle and content, where the
    store's own would come from the content alone."""
    name = basename(handle)
    tags = {
        "kind": "attachment",
        "source": READ_FILE_SOURCE,
        "path": handle,
        "filename": name,
        "session_id": index.session_id,
        "sha256": sha256,
    }
    artifact_id = compute_artifact_id(f"{handle}\0{sha256}".encode(), run_id=index.owner_run_id)
    if known is not None:  # the file has an earlier content again: that version is the newest one now
        tags = {**known.tags, READ_AGAIN: utc_now_iso()}
        artifact_id = known.artifact_id
    stored = index.artifact_store.store(
        content,
        content_type=known.content_type if known else mimetypes.guess_type(name)[0] or PLAIN_TEXT,
        run_id=index.owner_run_id,
        tags=tags,
        artifact_id=artifact_id,
    )
    return Attachment.of(stored)


def _content(path: Path, most: int, follow_links: bool) -> bytes | None:
    try:
        with path.open("rb") if follow_links else open_unfollowed(path) as file:
            content = file.read(most + 1)
    except OSError as exc:
        logger.info("%s is not attached: %s", basename(str(path)), exc)
        return None
    if len(content) > most:
        logger.info("%s is not attached: it has more than %d bytes", basename(str(path)), most)
        return None
    return content


def _ensure_owner_run(run_store: OwnerRuns, index: AttachmentIndex) -> None:
    if run_store.load(index.owner_run_id) is None:
        run_store.save(session_owner_run(index.session_id, utc_now_iso()))
