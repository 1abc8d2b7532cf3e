"""Where the names are (`spec/03 §1.1`)."""

from __future__ import annotations

import abstractruntime
from abstractruntime import memory
from abstractruntime.memory import active_context


def test_names() -> None:
    assert memory.__all__ == ["ActiveContextPolicy", "TimeRange"]
    for name in memory.__all__:
        assert getattr(memory, name) is getattr(active_context, name) is getattr(abstractruntime, name)
        assert name in abstractruntime.__all__
    assert abstractruntime.memory is memory
