"""Many seeds, in several processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing import get_context

from .seeds import Outcome, simulate

__all__ = ["outcomes"]

CHUNK = 50

Tried = tuple[Counter[str], list[int]]


def outcomes(seeds: range, jobs: int) -> Iterator[Tried]:
    """What happened in the seeds, and which of them broke, some seeds at a time."""
    chunks: Iterable[range] = (seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK))
    if jobs == 1:
        yield from map(_try, chunks)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_try, chunks)


def _try(seeds: range) -> Tried:
    counts, failed = Counter[str](), []
    for seed in seeds:
        outcome = simulate(seed)
        counts += _counts(outcome)
        if outcome.broken:
            failed.append(seed)
    return counts, failed


def _counts(outcome: Outcome) -> Counter[str]:
    profile = outcome.profile
    return Counter(
        {
            "seeds": 1,
            "over SQLite": int(profile.sqlite),
            "calm": int(profile.is_calm),
            "with several steps per tick": int(profile.max_steps > 1),
            "runs": outcome.runs,
            "outside calls": outcome.calls,
            "crashes": outcome.crashes,
            "interruptions": outcome.switches,
        }
    )
