"""How many effects, or runs, of a kind a fleet carries out at once, and how many it begins per time.

Limits are declared on the `App` and kept by the fleet's workers (`workers/limiter.py`). Slots are computed
from live leases and runs in the database whenever somebody asks for one; there is no counter that a dead
worker could leave wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from .core.errors import AppError, InvalidInputError
from .core.limit_terms import Scope, Terms
from .core.models import Effect, RunState

__all__ = ["Demand", "Limit", "Rate", "StartLimit"]

LONGEST_VALUE = 200
MAX_CONCURRENCY = 100_000
MAX_COUNT = 10_000

KeyValue = str | int | None


@dataclass(frozen=True, slots=True)
class Rate:
    """At most ``count`` begin in any ``per_s`` seconds (a sliding window).

    Args:
        count: 1 to 10 000.
        per_s: length of the window in seconds, more than 0.

    Raises:
        AppError: a value is out of range.
    """

    count: int
    per_s: float = 1.0

    def __post_init__(self) -> None:
        if not _is_count(self.count, MAX_COUNT):
            raise AppError(f"Rate: count must be an integer from 1 to {MAX_COUNT}, got {self.count!r}")
        is_number = isinstance(self.per_s, (int, float)) and not isinstance(self.per_s, bool)
        if not is_number or not math.isfinite(self.per_s) or self.per_s <= 0:
            raise AppError(f"Rate: per_s must be a number of seconds above 0, got {self.per_s!r}")


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit of an effect type. Limits with the same name share their slots, also across effect types.

    Args:
        name: of what is scarce: ``provider``, ``tenant``, ...
        key: ``(run, effect)`` -> which one of it (text or an integer); ``None`` = this effect is not limited.
            Without a function all effects share one key.
        concurrency: how many may be carried out at the same time for each key.
        rate: how many may begin per time for each key; every attempt counts.

    Raises:
        AppError: no name, neither concurrency nor rate, or a value out of range.
    """

    name: str
    key: Callable[[RunState, Effect], KeyValue] | None = None
    concurrency: int | None = None
    rate: Rate | None = None

    def __post_init__(self) -> None:
        _check(f"Limit {self.name!r}", self.name, self.key, self.concurrency, self.rate)

    def demand(self, run: RunState, effect: Effect) -> Demand | None:
        """What the effect needs before it may begin.

        Raises:
            InvalidInputError: ``key`` gave something else than text, an integer or ``None``.
        """
        value = "" if self.key is None else _value(f"limit '{self.name}'", self.key(run, effect))
        if value is None:
            return None
        terms = _terms(Scope.LEASE, self.concurrency, self.rate)
        return Demand(f"effect:{self.name}:{value}", terms, _label(f"limit '{self.name}'", value))


@dataclass(frozen=True, slots=True)
class StartLimit:
    """A limit on the runs of a workflow that are active: begun and not ended. See `App.limit_starts`."""

    workflow_id: str
    key: Callable[[RunState], KeyValue] | None = None
    concurrency: int | None = None
    rate: Rate | None = None
    counts_waiting: bool = True

    def __post_init__(self) -> None:
        what = f"limit_starts({self.workflow_id!r})"
        _check(what, self.workflow_id, self.key, self.concurrency, self.rate)

    def demand(self, run: RunState) -> Demand | None:
        """What the run needs before it may begin.

        Raises:
            InvalidInputError: ``key`` gave something else than text, an integer or ``None``.
        """
        what = f"starts of '{self.workflow_id}'"
        value = "" if self.key is None else _value(what, self.key(run))
        if value is None:
            return None
        scope = Scope.RUN if self.counts_waiting else Scope.ACTIVE
        terms = _terms(scope, self.concurrency, self.rate)
        return Demand(f"start:{self.workflow_id}:{value}", terms, _label(what, value))


@dataclass(frozen=True, slots=True)
class Demand:
    """One slot that is wanted: of which key, on which terms, and its name for people."""

    key: str
    terms: Terms
    label: str


def _check(what: str, name: object, key: object, concurrency: object, rate: object) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_VALUE:
        raise AppError(f"{what}: the name must be a text of 1 to {LONGEST_VALUE} characters")
    if key is not None and not callable(key):
        raise AppError(f"{what}: key must be a function that gives the key, got {type(key).__name__}")
    if concurrency is None and rate is None:
        raise AppError(f"{what}: give concurrency=, rate= or both")
    if concurrency is not None and not _is_count(concurrency, MAX_CONCURRENCY):
        raise AppError(
            f"{what}: concurrency must be an integer from 1 to {MAX_CONCURRENCY}, got {concurrency!r}"
        )
    if rate is not None and not isinstance(rate, Rate):
        raise AppError(f"{what}: rate must be a Rate(count, per_s), got {type(rate).__name__}")


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def _value(what: str, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise InvalidInputError(
            f"The key of {what} must be text, an integer or None, got {type(value).__name__}"
        )
    text = str(value)
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:100]}...{sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _label(what: str, value: str) -> str:
    return f"{what} for '{value}'" if value else what


def _terms(scope: Scope, concurrency: int | None, rate: Rate | None) -> Terms:
    if rate is None:
        return Terms(scope, concurrency)
    return Terms(scope, concurrency, rate.count, float(rate.per_s))
