"""``abstractruntime chaos``: a real fleet, random faults, and every invariant checked after."""

from __future__ import annotations

from .command import chaos

__all__ = ["chaos"]
