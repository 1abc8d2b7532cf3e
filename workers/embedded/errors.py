"""What can go wrong with a fleet of child processes."""

from __future__ import annotations

from abstractruntime.core.errors import RuntimeFault

__all__ = ["EmbeddedFleetError", "StartBrokenOffError"]


class EmbeddedFleetError(RuntimeFault):
    """The embedded fleet can't start or go on; the message says which part, and quotes its last words."""


class StartBrokenOffError(EmbeddedFleetError):
    """Whoever started the fleet did not want it any more before it was at work."""
