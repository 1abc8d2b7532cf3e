"""What can be done to a fleet, and which of it where."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from abstractruntime.core.errors import InvalidInputError

__all__ = ["Kind", "possible_kinds", "wanted_kinds"]


class Kind(str, Enum):
    """A kind of fault."""

    KILL_TICKS = "kill-ticks"
    KILL_EFFECTS = "kill-effects"
    KILL_BEAT = "kill-beat"
    KILL_RESUMER = "kill-resumer"
    KILL_AT_POINT = "kill-at-point"
    FREEZE_TICKS = "freeze-ticks"
    FREEZE_EFFECTS = "freeze-effects"
    FREEZE_RESUMER = "freeze-resumer"
    TWO_BEATS = "two-beats"
    BROKER_FLUSH = "broker-flush"
    BROKER_CUT = "broker-cut"
    BROKER_RESTART = "broker-restart"
    BROKER_AWAY = "broker-away"
    DATABASE_CUT = "database-cut"
    DATABASE_LOCK = "database-lock"
    DATABASE_RESTART = "database-restart"


OWN_BROKER = {Kind.BROKER_RESTART, Kind.BROKER_AWAY}
OWN_DATABASE = {Kind.DATABASE_RESTART}
POSTGRESQL = {Kind.DATABASE_CUT, Kind.DATABASE_RESTART}


def possible_kinds(*, sqlite: bool, own_broker: bool, own_database: bool) -> tuple[Kind, ...]:
    """The kinds that this fleet's servers allow: a server of somebody else's is not stopped."""
    impossible: set[Kind] = set()
    if sqlite:
        impossible |= POSTGRESQL
    if not own_broker:
        impossible |= OWN_BROKER
    if not own_database:
        impossible |= OWN_DATABASE
    return tuple(kind for kind in Kind if kind not in impossible)


def wanted_kinds(names: str, possible: Iterable[Kind]) -> tuple[Kind, ...]:
    """The kinds named in a list like ``kill-ticks,broker`` (a name or the beginning of names), of those that
    are possible; ``all`` and ``none`` are names too.

    Raises:
        InvalidInputError: a name fits no kind that is possible here.
    """
    possible = tuple(possible)
    if names.strip() == "all":
        return possible
    if names.strip() == "none":
        return ()
    found: set[Kind] = set()
    for name in filter(None, (part.strip() for part in names.split(","))):
        fitting = {kind for kind in possible if kind.value == name or kind.value.startswith(f"{name}-")}
        if not fitting:
            known = ", ".join(kind.value for kind in possible)
            raise InvalidInputError(f"--faults: no fault '{name}' is possible here; known are: {known}")
        found |= fitting
    return tuple(kind for kind in possible if kind in found)
