"""Which fault happens when: a random schedule, the same for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .kinds import Kind

__all__ = ["POINTS", "Crew", "PlannedFault", "fault_schedule"]

_FIRST_S = 2.0
_GAP_S = (1.5, 5.5)
_REST_S = 3.0
_DOUBLED = 0.35
_AGAIN_S = (0.2, 1.5)

POINTS = ("step.before_commit", "step.after_commit", "step.before_publish", "effect.claimed", "effect.done")
"""Named points of the code (`core/faults.py`) at which a worker may die."""

_LASTS: dict[Kind, tuple[float, float]] = {
    Kind.TWO_BEATS: (3.0, 6.0),
    Kind.BROKER_AWAY: (2.0, 6.0),
    Kind.DATABASE_CUT: (0.5, 1.5),
    Kind.DATABASE_LOCK: (1.0, 3.0),
}
"""Seconds; a freeze lasts in lease times instead, all others are over at once."""
_FREEZE_LEASES = (1.3, 2.0)
_FREEZES = (Kind.FREEZE_TICKS, Kind.FREEZE_EFFECTS, Kind.FREEZE_RESUMER)


@dataclass(frozen=True, slots=True)
class Crew:
    """How many processes of each sort there are."""

    ticks: int = 2
    effects: int = 2
    resumers: int = 2

    def names(self, kind: Kind) -> list[str]:
        """The processes that a kind of fault may hit."""
        ticks = [f"ticks-{number + 1}" for number in range(self.ticks)]
        effects = [f"effects-{number + 1}" for number in range(self.effects)]
        resumers = [f"resumer-{number + 1}" for number in range(self.resumers)]
        return {
            Kind.KILL_TICKS: ticks,
            Kind.FREEZE_TICKS: ticks,
            Kind.KILL_EFFECTS: effects,
            Kind.FREEZE_EFFECTS: effects,
            Kind.KILL_RESUMER: resumers,
            Kind.FREEZE_RESUMER: resumers,
            Kind.KILL_BEAT: ["beat"],
            Kind.KILL_AT_POINT: [*ticks, *effects],
        }.get(kind, [])


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """One fault.

    Attributes:
        at_s: seconds after the start of the chaos.
        kind: what happens.
        target: name of the process it happens to; empty for servers.
        lasts_s: for how long; 0 = it is over at once.
        rule: for `Kind.KILL_AT_POINT`, the rule the process is started with.
    """

    at_s: float
    kind: Kind
    target: str = ""
    lasts_s: float = 0.0
    rule: str = ""


def fault_schedule(
    seed: int, seconds: float, kinds: Sequence[Kind], *, crew: Crew, lease_s: float
) -> tuple[PlannedFault, ...]:
    """Faults over ``seconds``. All kinds come equally often; about every third fault is followed by another
    one at once, which hits the recovery from the first."""
    if not kinds:
        return ()
    dice = random.Random(f"faults-{seed}")
    deck = _deck(dice, kinds)
    faults: list[PlannedFault] = []
    at = _FIRST_S
    while at < seconds - _REST_S:
        faults.append(_fault(dice, at, next(deck), crew, lease_s))
        if dice.random() < _DOUBLED:
            at += dice.uniform(*_AGAIN_S)
            faults.append(_fault(dice, at, next(deck), crew, lease_s))
        at += dice.uniform(*_GAP_S)
    return tuple(faults)


def _deck(dice: random.Random, kinds: Sequence[Kind]) -> Iterator[Kind]:
    """Kinds without end, each once before any of them comes again."""
    while True:
        cards = list(kinds)
        dice.shuffle(cards)
        yield from cards


def _fault(dice: random.Random, at: float, kind: Kind, crew: Crew, lease_s: float) -> PlannedFault:
    names = crew.names(kind)
    lasts = dice.uniform(*_LASTS[kind]) if kind in _LASTS else 0.0
    if kind in _FREEZES:
        lasts = lease_s * dice.uniform(*_FREEZE_LEASES)
    return PlannedFault(
        at_s=round(at, 3),
        kind=kind,
        target=dice.choice(names) if names else "",
        lasts_s=round(lasts, 3),
        rule=f"{dice.choice(POINTS)}=kill:{dice.randint(1, 60)}" if kind is Kind.KILL_AT_POINT else "",
    )
