"""Ids of artifacts and references to them (`spec/02 §10.2`, §10.3)."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from abstractruntime.core.errors import InvalidInputError

from .file_names import MAX_BYTES

__all__ = [
    "artifact_ref",
    "compute_artifact_id",
    "compute_blob_id",
    "get_artifact_id",
    "is_artifact_ref",
    "validate_artifact_id",
]

_REF_KEY = "$artifact"
_VALID_ID = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN = 40
"""Characters of an over-long id in its error."""


def compute_artifact_id(content: bytes, *, run_id: str | None = None) -> str:
    """32 hex digits: the same for the same bytes in the same run. Type and tags don't enter it."""
    run = (run_id or "").strip()
    digest = hashlib.sha256(run.encode() + b"\0" if run else b"")
    digest.update(content)
    return digest.hexdigest()[:32]


def compute_blob_id(content: bytes) -> str:
    """SHA-256 of the bytes, 64 hex digits: the same for the same bytes everywhere."""
    return hashlib.sha256(content).hexdigest()


def validate_artifact_id(artifact_id: str) -> None:
    """Refuse ids that could not be file names everywhere; all stores ask it, for reading too.

    Raises:
        InvalidInputError: it is empty, has a character other than ``A-Z a-z 0-9 _ -``, or more than 200.
    """
    if not artifact_id:
        raise InvalidInputError("artifact_id cannot be empty")
    if not isinstance(artifact_id, str) or _VALID_ID.fullmatch(artifact_id) is None:
        raise InvalidInputError(
            f"Invalid artifact_id '{artifact_id}': only A-Z, a-z, 0-9, '_' and '-' are allowed"
        )
    if len(artifact_id) > MAX_BYTES:  # one byte each, as they are now
        raise InvalidInputError(
            f"Invalid artifact_id '{artifact_id[:_SHOWN]}…': {len(artifact_id)} characters, at most "
            f"{MAX_BYTES} are allowed"
        )


def artifact_ref(artifact_id: str) -> dict[str, str]:
    """What stands in JSON data for the artifact."""
    return {_REF_KEY: artifact_id}


def is_artifact_ref(value: Any) -> bool:
    """Whether ``value`` is an object with the key ``$artifact``, whatever else it holds."""
    return isinstance(value, dict) and _REF_KEY in value


def get_artifact_id(ref: dict[str, Any]) -> str:
    """The id in a reference.

    Raises:
        KeyError: it is none.
    """
    artifact_id: str = ref[_REF_KEY]
    return artifact_id
