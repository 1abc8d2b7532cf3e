"""Attachments of a session as tests put them into a store."""

from __future__ import annotations

import hashlib
from typing import Any

from abstractruntime.integrations.abstractcore.session_attachments import (
    execute_open_attachment,
    session_memory_owner_run_id,
)
from abstractruntime.storage.artifacts import ArtifactStore

SESSION = "s1"


def attach(
    store: ArtifactStore,
    content: bytes | str,
    *,
    path: str = "",
    content_type: str = "text/plain",
    session_id: str = SESSION,
    artifact_id: str | None = None,
    **tags: str,
) -> str:
    """The new attachment's artifact id."""
    data = content.encode() if isinstance(content, str) else content
    known = {"kind": "attachment", "sha256": hashlib.sha256(data).hexdigest(), "session_id": session_id}
    if path:
        known["path"] = path
    stored = store.store(
        data,
        content_type=content_type,
        run_id=session_memory_owner_run_id(session_id),
        tags=known | tags,
        artifact_id=artifact_id,
    )
    return stored.artifact_id


def open_it(store: ArtifactStore, **arguments: Any) -> tuple[bool, dict[str, Any], str | None]:
    """``open_attachment`` as the contract calls it, with defaults for what the test does not care for."""
    success, output, error = execute_open_attachment(
        artifact_store=store,
        session_id=arguments.pop("session_id", SESSION),
        **{
            "artifact_id": None,
            "handle": None,
            "expected_sha256": None,
            "start_line": 1,
            "end_line": None,
            "max_chars": 8000,
        }
        | arguments,
    )
    assert output is not None
    return success, output, error
