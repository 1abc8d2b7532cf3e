"""How much of the files that tools have read a session keeps (`spec/04 §16.24`)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from .index import Attachment

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_SESSION_BYTES",
    "MAX_VERSIONS",
    "READ_FILE_SOURCE",
    "SessionQuota",
    "excess",
    "max_attachment_bytes",
    "session_quota",
]

READ_FILE_SOURCE = "tool.read_file"
"""Tag ``source`` of attachments that were made of read files; only these give way."""

# Each with its variable and what holds without it.
MAX_FILE_BYTES = ("ABSTRACTGATEWAY_MAX_ATTACHMENT_BYTES", 25 * 1024 * 1024)
MAX_SESSION_BYTES = ("ABSTRACTRUNTIME_SESSION_ATTACHMENT_BYTES", 256 * 1024 * 1024)
MAX_VERSIONS = ("ABSTRACTRUNTIME_SESSION_ATTACHMENT_VERSIONS", 5)


@dataclass(frozen=True, slots=True)
class SessionQuota:
    """What one session may keep of read files.

    Attributes:
        max_bytes: of all of them together.
        max_versions: of one file.
    """

    max_bytes: int
    max_versions: int


def max_attachment_bytes() -> int:
    """Largest file that is registered by itself: ``ABSTRACTGATEWAY_MAX_ATTACHMENT_BYTES``, or 25 MiB."""
    return _positive(*MAX_FILE_BYTES)


def session_quota() -> SessionQuota:
    """``ABSTRACTRUNTIME_SESSION_ATTACHMENT_BYTES`` (256 MiB) and ``..._VERSIONS`` (5), as set now."""
    return SessionQuota(_positive(*MAX_SESSION_BYTES), _positive(*MAX_VERSIONS))


def excess(attachments: Sequence[Attachment], *, keep: str) -> list[Attachment]:
    """Which attachments of read files have to go; never the one with the id ``keep``.

    Versions of a file beyond the newest few, and what was read longest ago until the rest fits.
    """
    quota = session_quota()
    read = [each for each in attachments if each.tags.get("source") == READ_FILE_SOURCE]
    newest_first = sorted(read, key=lambda each: (each.artifact_id == keep, each.seen_at), reverse=True)
    gone = []
    versions: Counter[str] = Counter()
    size = 0
    for each in newest_first:
        versions[each.handle] += 1
        is_excess = versions[each.handle] > quota.max_versions or size + each.size_bytes > quota.max_bytes
        if is_excess and each.artifact_id != keep:
            gone.append(each)
        else:
            size += each.size_bytes
    return gone


def _positive(variable: str, default: int) -> int:
    try:
        number = int(os.environ.get(variable, ""))
    except ValueError:
        return default
    return number if number > 0 else default
