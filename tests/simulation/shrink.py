"""A failing seed made small: what happened in it is left out, piece by piece, as long as it still fails."""

from __future__ import annotations

import re
from collections.abc import Callable
from time import monotonic

from .profile import Profile
from .seeds import Outcome, simulate

__all__ = ["shrink"]

PATIENCE_S = 60.0


def shrink(seed: int, *, profile: Profile | None = None, patience_s: float = PATIENCE_S) -> Outcome:
    """The seed's failure with as few actions, interruptions and faults as were found to be enough.

    Args:
        patience_s: seconds after which what has been reached is good enough.

    Returns:
        an outcome with its trace, whose ``replay()`` shows just that.
    """
    whole = simulate(seed, profile=profile)
    kind = _kind(whole)
    deadline = monotonic() + patience_s

    def fails(kept: list[str]) -> bool:
        outcome = simulate(seed, profile=profile, only=frozenset(kept))
        return bool(outcome.broken) and _kind(outcome) == kind

    kept = _smallest(whole.happened, fails, lambda: monotonic() > deadline)
    return simulate(seed, profile=profile, only=frozenset(kept), trace=True)


def _kind(outcome: Outcome) -> str:
    """What broke, without the names of runs, times and numbers."""
    return re.sub(r"[0-9a-f-]*\d[0-9a-f.-]*", "#", outcome.broken[0]).split(" (run ")[0][:60]


def _smallest(items: list[str], fails: Callable[[list[str]], bool], is_over: Callable[[], bool]) -> list[str]:
    """Leave out halves, quarters, ... and at last single items, until none can be spared (`ddmin`)."""
    size = max(1, len(items) // 2)
    while True:
        spared = False
        start = 0
        while start < len(items):
            if is_over():
                return items
            without = items[:start] + items[start + size :]
            if fails(without):
                items, spared = without, True
            else:
                start += size
        if size == 1 and not spared:
            return items
        size = max(1, size // 2)
