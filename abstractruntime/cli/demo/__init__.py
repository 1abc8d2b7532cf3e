"""``abstractruntime demo``: the expense claims of ``examples/expenses`` on a real fleet, with a crash."""

from __future__ import annotations

from .command import demo

__all__ = ["demo"]
