"""Which run owns what a session remembers (`spec/03 §8.1`, `spec/04 §9.1`)."""

from __future__ import annotations

import hashlib
import re

from abstractruntime.core.errors import InvalidInputError
from abstractruntime.core.models import RunState, RunStatus

__all__ = [
    "MAX_PLAIN_SESSION_ID",
    "SESSION_MEMORY_WORKFLOW",
    "session_owner_run",
    "session_owner_run_id",
]

SESSION_MEMORY_WORKFLOW = "__session_memory__"
"""Workflow id of owner runs of sessions."""

MAX_PLAIN_SESSION_ID = 185
"""Longest session id that is kept readable: with its prefix it is as long as a run id may be (200)."""

_PREFIX = "session_memory_"
_HASHED = "sha_"
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


def session_owner_run_id(session_id: str | None) -> str:
    """The run id under which a session's memory and attachments are kept.

    A plain id is kept readable. One with other characters is hashed, and so is one that is too long for a
    file name, or that starts like a hash itself: two sessions never share an owner (`spec/03 §18.15`,
    §18.16).

    Raises:
        InvalidInputError: (a ``ValueError``) the id is blank.
    """
    plain = session_id.strip() if isinstance(session_id, str) else ""
    if not plain:
        raise InvalidInputError("session_id is required")
    is_kept = (
        _PLAIN.fullmatch(plain) is not None
        and not plain.startswith(_HASHED)
        and len(plain) <= MAX_PLAIN_SESSION_ID
    )
    return _PREFIX + (plain if is_kept else _HASHED + hashlib.sha256(plain.encode()).hexdigest()[:32])


def session_owner_run(session_id: str, now: str) -> RunState:
    """The owner run as it is first stored: an ended run that remembers nothing yet.

    Args:
        now: ISO time, UTC.

    Raises:
        InvalidInputError: the id is blank.
    """
    return RunState(
        run_id=session_owner_run_id(session_id),
        workflow_id=SESSION_MEMORY_WORKFLOW,
        status=RunStatus.COMPLETED,
        current_node="done",
        vars={
            "context": {"task": "", "messages": []},
            "scratchpad": {},
            "_runtime": {"memory_spans": []},
            "_temp": {},
            "_limits": {},
        },
        output={"messages": []},
        created_at=now,
        updated_at=now,
        session_id=session_id.strip(),
    )
