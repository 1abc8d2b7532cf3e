"""Losing a race is nobody's error: somebody else was first."""

from __future__ import annotations

__all__ = ["LostRace"]


class LostRace(Exception):
    """Somebody else has moved the run; nothing was written."""
