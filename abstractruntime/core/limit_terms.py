"""The terms of a limit, as they are kept in the database beside each slot."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum

__all__ = ["Scope", "Terms"]


class Scope(str, Enum):
    """How long a slot is held."""

    LEASE = "lease"
    """While the run's lease lives: an effect."""
    RUN = "run"
    """Until the run ends."""
    ACTIVE = "active"
    """Until the run ends, but not while it waits."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a key allows: ``concurrency`` at once, ``count`` beginnings in ``per_s`` seconds.

    They are kept with each row, so that whoever frees a slot can hand it over without knowing the App.
    """

    scope: Scope
    concurrency: int | None = None
    count: int | None = None
    per_s: float = 0.0

    def to_text(self) -> str:
        """The stored form."""
        return json.dumps([self.scope.value, self.concurrency, self.count, self.per_s])

    @classmethod
    def from_text(cls, text: str) -> Terms:
        """Read the stored form."""
        scope, concurrency, count, per_s = json.loads(text)
        return cls(Scope(scope), concurrency, count, per_s)
