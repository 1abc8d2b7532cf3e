"""Limits hold in every interleaving, and nobody starves."""

from __future__ import annotations

import os
from unittest.mock import patch

import pytest

from abstractruntime.storage.in_memory_slots import InMemorySlots
from abstractruntime.storage.slots import Usage
from workers.heartbeat import Heartbeat

from .limits import NarrowWorld, simulate_limits
from .profile import Profile

SEEDS = int(os.environ.get("SEEDS", "2000")) // 40
EFFECTS = Profile(workers=6, actions=150, switch=0.1, slow=0.9, freeze=0.3, focus="effects")
CROWDED = Profile(
    workers=6,
    actions=500,
    switch=0.05,
    slow=1.0,
    freeze=0.1,
    crash=0.0,
    cut=0.0,
    drop=0.0,
    double=0.0,
    focus="effects",
    control=0.1,
)
"""Many effects under way at the same time."""


def _report(seed: int, profile: Profile | None) -> str:
    world = simulate_limits(seed, trace=True, profile=profile)
    return "\n".join([f"seed {seed}:", *world.journal.violations, *world.trace.lines])


@pytest.mark.parametrize("profile", [None, EFFECTS], ids=["any", "effects"])
def test_limits_hold_and_nobody_starves(profile: Profile | None) -> None:
    waited = 0
    for seed in range(SEEDS):
        world = simulate_limits(seed, profile=profile)
        if world.journal.violations:
            pytest.fail(_report(seed, profile), pytrace=False)
        waited += world.refused
    assert waited > SEEDS  # limits that nobody meets prove nothing


def test_forgotten_locks_are_found() -> None:
    def no_lock(self: object, keys: object) -> None:
        pass

    with patch("tests.simulation.database.SimulatedUnit.lock_keys", no_lock):
        assert _breaks()


def test_slots_that_are_not_counted_are_found() -> None:
    def nobody(self: InMemorySlots, key: str, terms: object, *, but: str = "") -> Usage:
        return Usage(self._clock(), 0, None, ())

    with patch.object(InMemorySlots, "usage", nobody):
        assert _breaks()


def test_leases_that_come_back_to_life_are_found() -> None:
    honest = Heartbeat.__init__

    def reviving(self: Heartbeat, *args: object, **kwargs: object) -> None:
        honest(self, *args)  # type: ignore[arg-type]

    with patch.object(Heartbeat, "__init__", reviving):
        assert _breaks()


def _breaks() -> bool:
    """Begins where today's code breaks soon; another one may break later."""
    for seed in range(20, 220):
        if simulate_limits(seed, profile=CROWDED, make=NarrowWorld).journal.violations:
            return True
    return False
