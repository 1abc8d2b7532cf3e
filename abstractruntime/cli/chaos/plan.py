"""Everything that chance decides about a chaos run, decided beforehand: the same seed gives the same plan."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from .kinds import Kind
from .schedule import Crew, PlannedFault, fault_schedule
from .scripts import PlannedRun
from .workload import workload

__all__ = ["Plan", "make_plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be done to which runs, and which faults happen when.

    Attributes:
        seconds: how long the chaos lasts.
        lease_s: the fleet's lease; freezes outlast it.
    """

    seed: int
    seconds: float
    lease_s: float
    crew: Crew
    runs: tuple[PlannedRun, ...]
    faults: tuple[PlannedFault, ...]

    def write(self, path: Path) -> None:
        """Store it as JSON, for people."""
        path.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")


def make_plan(
    seed: int, *, runs: int, seconds: float, kinds: tuple[Kind, ...], crew: Crew, lease_s: float
) -> Plan:
    """The plan of a seed. The workload does not depend on the kinds of faults, nor they on the number of
    runs."""
    return Plan(
        seed=seed,
        seconds=seconds,
        lease_s=lease_s,
        crew=crew,
        runs=workload(seed, runs, seconds),
        faults=fault_schedule(seed, seconds, kinds, crew=crew, lease_s=lease_s),
    )
