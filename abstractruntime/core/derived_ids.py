"""Ids of runs that must be the same wherever, and however often, they are made."""

from __future__ import annotations

from hashlib import sha256
from uuid import UUID

__all__ = ["derived_id"]


def derived_id(name: str) -> str:
    """The run id that belongs to ``name``: always the same, and in the form of any other run id, UUID 4
    (`spec/01 §2.5`)."""
    return str(UUID(bytes=sha256(name.encode()).digest()[:16], version=4))
