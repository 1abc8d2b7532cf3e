"""What a run remembers, and what of it a model sees (`spec/03`). Needs no optional package."""

from __future__ import annotations

from .active_context import ActiveContextPolicy, TimeRange

__all__ = ["ActiveContextPolicy", "TimeRange"]
