"""Worlds with limits, whose queues are full now and then: never more leases of a key than slots, never more
beginnings in a window than allowed, and nobody is forgotten (`invariants.check`: no run with work left)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from abstractruntime.app import App
from abstractruntime.core.models import Effect, EffectType, RunState
from abstractruntime.limits import Limit, Rate

from .invariants import check
from .profile import Profile
from .scheduler import Scheduler
from .world import World

__all__ = ["LimitedWorld", "NarrowWorld", "simulate_limits"]

RATE = Rate(3, per_s=8.0)
KINDS = (EffectType.LLM_CALL, EffectType.TOOL_CALLS)


class LimitedWorld(World):
    """A world whose effects and starts are limited; looks at every commit.

    Attributes:
        slots: of each key.
        keys: how many there are.
        refused: how often somebody had to wait for a slot.
    """

    slots = 2
    keys = 2
    refused = 0

    def __init__(self, seed: int, *, trace: bool = False, profile: Profile | None = None) -> None:
        super().__init__(seed, trace=trace, profile=profile)
        # The queues are full now and then, also after the faults: then the sweep does it all.
        self._dispatcher.crowded = lambda: self.rng.random() < 0.2

    def key_of(self, payload: dict[str, Any]) -> str:
        return str(payload.get("nth", 0) % self.keys)

    def _make_app(self, workflow_ids: list[str]) -> App:
        app = super()._make_app(workflow_ids)

        def parity(run: RunState, effect: Effect) -> str:
            return self.key_of(effect.payload)

        slots = Limit("slots", key=parity, concurrency=self.slots)
        rate = Limit("rate", key=parity, concurrency=4, rate=RATE)
        app.effect(EffectType.LLM_CALL, limits=[slots])(self.outside.handler)
        app.effect(EffectType.TOOL_CALLS, quick=True, limits=[slots])(self.outside.handler)
        app.effect(EffectType.MEMORY_NOTE, lease_s=5.0, limits=[rate])(self.outside.handler)
        for workflow_id in workflow_ids[::2]:
            app.limit_starts(workflow_id, concurrency=1, counts_waiting=False)
        return app

    def point(self, name: str) -> None:
        if name == "db.committed":
            for broken in self._broken():
                self.journal.violate(broken)
        super().point(name)

    def _broken(self) -> Iterator[str]:
        """Read off the runs themselves, not off the rows that keep the slots."""
        live: dict[str, list[str]] = {}
        self.refused += any(
            not row.held for rows in self.database.inner._tables.slots.values() for row in rows.values()
        )
        for run_id, row in self.database.inner._tables.runs.items():
            if row.step_text is None or row.lease_until is None or row.lease_until <= self.time:
                continue
            step = json.loads(row.step_text)
            if step["step_id"] is not None and step["effect"]["type"] in KINDS:
                live.setdefault(self.key_of(step["effect"]["payload"]), []).append(run_id)
        for key, run_ids in live.items():
            if len(run_ids) > self.slots:
                yield f"{len(run_ids)} leases of key {key}, which has {self.slots} slots: {sorted(run_ids)}"
        for key, claims in self.database.inner._tables.claims.items():
            times = sorted(at for at, _ in claims)
            for first, last in zip(times, times[RATE.count :], strict=False):
                if last - first < RATE.per_s:
                    yield f"{RATE.count + 1} beginnings of {key} within {last - first} s"


class NarrowWorld(LimitedWorld):
    """One slot for all."""

    slots = 1
    keys = 1


def simulate_limits(
    seed: int,
    *,
    trace: bool = False,
    profile: Profile | None = None,
    make: type[LimitedWorld] = LimitedWorld,
) -> LimitedWorld:
    """Run one seed of a limited world; what broke is in ``journal.violations``."""
    world = make(seed, trace=trace, profile=profile)
    with world.running():
        Scheduler(world).run()
        if not world.journal.violations:
            world.journal.violations += check(world)
    return world
