"""Thousands of seeds keep every invariant; every deliberate mistake is found."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from .breakages import BREAKAGES
from .profile import Profile
from .seeds import Outcome, simulate
from .shrink import shrink

SEEDS = int(os.environ.get("SEEDS", "2000"))
FIRST = int(os.environ.get("FIRST_SEED", "0"))
CHUNK = max(1, SEEDS // 20)

ROUGH = Profile(workers=4, actions=150, switch=0.1, slow=0.6, freeze=0.3)
EVENTS = Profile(
    workers=4, actions=120, switch=0.25, freeze=0.1, crash=0.0, focus="events", names=("a",), sessions=("s0",)
)
EFFECTS = Profile(workers=6, actions=150, switch=0.05, slow=0.9, freeze=0.4, focus="effects", control=4.0)
CHILDREN = Profile(workers=4, actions=150, switch=0.1, focus="children", control=4.0)
CALM = Profile(workers=3, actions=80, switch=0.0, slow=0.0, patient=True).without_faults()
SCHEDULES = Profile(workers=2, actions=100, crash=0.02, scheduled=True)

SHARPEST = {
    "no_lock_on_events": EVENTS,
    "no_inbox": EVENTS,
    "events_not_marked_as_consumed": EVENTS,
    "no_guard_against_completed": EFFECTS,
    "no_version_check": EFFECTS,
    "outcomes_not_fenced": EFFECTS,
    "outcomes_dropped_in_a_race": EFFECTS,
    "orders_overwritten": EFFECTS,
    "poison_never_stops": EFFECTS,
    "parents_not_told": CHILDREN,
    "unpaused_parents_not_told": CHILDREN,
    "schedules_move_on_first": SCHEDULES,
    # Nothing breaks by it for good: only where nothing is lost it shows that the sweep had to help.
    "hints_of_earlier_steps_dropped": replace(CALM, max_steps=3, focus="children"),
}
"""The profile under which a mistake shows soonest; the others show under any."""


@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, CHUNK))
def test_every_invariant_holds(first: int) -> None:
    for seed in range(first, min(first + CHUNK, FIRST + SEEDS)):
        outcome = simulate(seed)
        if outcome.broken:
            pytest.fail(simulate(seed, trace=True).report(), pytrace=False)


def test_seed_is_replayed_exactly() -> None:
    for seed in range(20):
        assert simulate(seed, trace=True).trace == simulate(seed, trace=True).trace


def test_processes_die_and_interleave() -> None:
    """A simulation in which nothing happens proves nothing."""
    outcomes = [simulate(seed) for seed in range(60)]
    assert sum(outcome.crashes for outcome in outcomes) > 30
    assert sum(outcome.switches for outcome in outcomes) > 1000
    assert sum(outcome.calls for outcome in outcomes) > 60


@pytest.mark.parametrize("max_steps", [1, 3, 25])
@pytest.mark.parametrize("focus", ["", "children"])
def test_without_faults_messages_alone_do_it(max_steps: int, focus: str) -> None:
    """The sweep is for what was lost: where nothing is lost it sends nothing but timers."""
    profile = replace(CALM, max_steps=max_steps, focus=focus)
    assert profile.is_calm
    for seed in range(20):
        outcome = simulate(seed, profile=profile)
        assert not outcome.broken, outcome.report()
        assert outcome.redelivered == 0


def test_a_failing_seed_is_made_small() -> None:
    """What is left of it fails in the same way, and shows it in a trace that can be read."""
    profile = replace(EVENTS, actions=60)
    with BREAKAGES["events_not_marked_as_consumed"]():
        whole = next(found for seed in range(50) if (found := simulate(seed, profile=profile)).broken)
        small = shrink(whole.seed, profile=profile, patience_s=20)
        assert small.broken
        assert len(small.happened) < len(whole.happened) / 3
        assert simulate(whole.seed, profile=profile, only=frozenset(small.happened)).broken == small.broken
    assert f"--seed {whole.seed} --only {','.join(small.happened)} --trace" in small.report()


@pytest.mark.parametrize("name", sorted(BREAKAGES))
def test_deliberate_mistake_is_found(name: str) -> None:
    outcome = _first_broken(name, SHARPEST.get(name, ROUGH))
    assert outcome is not None, f"{name}: no seed was broken by it"


def _first_broken(name: str, profile: Profile) -> Outcome | None:
    with BREAKAGES[name]():
        for seed in range(300):
            outcome = simulate(seed, profile=profile)
            if outcome.broken:
                return outcome
    return None
