"""One seed from beginning to end."""

from __future__ import annotations

from dataclasses import dataclass

from .invariants import check
from .profile import Profile
from .scheduler import Scheduler
from .world import World

__all__ = ["Outcome", "simulate"]

TOLD_FIRST = 300
TOLD_LAST = 30


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a seed: ``broken`` is empty when every invariant held."""

    seed: int
    broken: list[str]
    trace: list[str]
    runs: int
    calls: int
    crashes: int
    switches: int
    redelivered: int
    happened: list[str]
    profile: Profile
    only: frozenset[str] | None = None

    def report(self) -> str:
        """For people: what broke, and how to see it again."""
        lines = [f"seed {self.seed} broke {len(self.broken)} invariant(s):"]
        lines += [f"  - {text}" for text in self.broken]
        lines.append(f"replay: {self.replay()}")
        if self.trace:
            lines += ["trace:", *(f"  {line}" for line in _readable(self.trace))]
        return "\n".join(lines)

    def replay(self) -> str:
        """The command that shows it again."""
        only = "" if self.only is None else f" --only {','.join(self.happened)}"
        return f"python -m tests.simulation --seed {self.seed}{only} --trace"


def _readable(trace: list[str]) -> list[str]:
    """What goes round for ever is cut short."""
    if len(trace) <= TOLD_FIRST + TOLD_LAST:
        return trace
    left_out = len(trace) - TOLD_FIRST - TOLD_LAST
    return [*trace[:TOLD_FIRST], f"... {left_out} lines ...", *trace[-TOLD_LAST:]]


def simulate(
    seed: int, *, trace: bool = False, profile: Profile | None = None, only: frozenset[str] | None = None
) -> Outcome:
    """Run one seed; the same seed gives the same outcome.

    Args:
        only: take these decisions only (`World.happens`), to see a part of what happened.
    """
    world = World(seed, trace=trace, profile=profile or Profile.of(seed), only=only)
    drawn = world.profile
    with world.running():
        Scheduler(world).run()
        broken = list(world.journal.violations) or check(world)
    return Outcome(
        seed=seed,
        broken=broken,
        trace=world.trace.lines,
        runs=len(world.journal.runs),
        calls=len(world.outside.calls),
        crashes=world.crashes,
        switches=world.switches,
        redelivered=world.database.redelivered,
        happened=world.happened,
        profile=drawn,
        only=only,
    )
