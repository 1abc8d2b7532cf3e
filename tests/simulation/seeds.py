"""One seed from beginning to end."""

from __future__ import annotations

from dataclasses import dataclass

from .invariants import check
from .profile import Profile
from .scheduler import Scheduler
from .world import World

__all__ = ["Outcome", "simulate"]


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

    def report(self) -> str:
        """For people: what broke, and how to see it again."""
        lines = [f"seed {self.seed} broke {len(self.broken)} invariant(s):"]
        lines += [f"  - {text}" for text in self.broken]
        lines.append(f"replay: python -m tests.simulation --seed {self.seed} --trace")
        if self.trace:
            lines += ["trace:", *(f"  {line}" for line in self.trace)]
        return "\n".join(lines)


def simulate(seed: int, *, trace: bool = False, profile: Profile | None = None) -> Outcome:
    """Run one seed; the same seed gives the same outcome."""
    world = World(seed, trace=trace, profile=profile)
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
    )
