"""How rough a seed is. Some seeds are calm, some have one kind of fault only, most have all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

__all__ = ["Profile"]


@dataclass(frozen=True, slots=True)
class Profile:
    """Probabilities per opportunity, and sizes.

    Attributes:
        workers: tasks that can run at the same time.
        actions: what the scheduler does before the faults stop.
        max_steps: StepPlans per tick.
        serial: SQLite (one transaction at a time) instead of PostgreSQL.
        switch, slow: a process is interrupted at a point; inside an outside effect.
        freeze: an interrupted process stops until it is thawed.
        crash, cut: a process dies at a point; a database connection breaks.
        drop, double, early: a message is lost, comes twice, comes before its time.
        flaky: a node raises.
        ignorant: one worker does not know every workflow until the faults stop.
        scheduled: a workflow is started every so often by several beats.
        sqlite: the database is a SQLite file.
        patient: time passes only when nothing else can happen.
        focus: what workflows and clients do most: ``events``, ``effects``, ``children`` or, empty, all.
        names, sessions: of events and runs; with few of them events and waits meet, with many they miss.
        control: how often clients pause, unpause, cancel, retry; 1 is now and then.
    """

    workers: int = 3
    actions: int = 70
    max_steps: int = 1
    serial: bool = False
    switch: float = 0.05
    slow: float = 0.5
    freeze: float = 0.1
    crash: float = 0.01
    cut: float = 0.005
    drop: float = 0.1
    double: float = 0.1
    early: float = 0.05
    flaky: float = 0.05
    ignorant: bool = False
    scheduled: bool = False
    sqlite: bool = False
    patient: bool = False
    focus: str = ""
    names: tuple[str, ...] = ("a", "b", "c")
    sessions: tuple[str, ...] = ("s0", "s1")
    control: float = 1.0

    @property
    def is_calm(self) -> bool:
        """Nothing is lost, late or interrupted, so that messages alone must do."""
        return self.patient and self.switch == self.slow == 0.0 and self == self.without_faults()

    @classmethod
    def of(cls, seed: int) -> Profile:
        """The profile of a seed: drawn; every 25th is SQLite's, and another one in 25 is calm."""
        profile = cls.draw(Random(seed))
        if seed % 25 == 24:
            return replace(profile, sqlite=True, serial=True)
        if seed % 25 == 12:
            return replace(profile.without_faults(), switch=0.0, slow=0.0, patient=True)
        return profile

    @classmethod
    def draw(cls, rng: Random) -> Profile:
        """The profile of a seed."""
        profile = cls(
            workers=rng.choice((1, 2, 3, 4, 6)),
            actions=rng.choice((40, 70, 100, 140)),
            max_steps=rng.choice((1, 1, 1, 3)),
            serial=rng.random() < 0.25,
            switch=rng.choice((0.0, 0.03, 0.1, 0.2)),
            slow=rng.choice((0.3, 0.9)),
            freeze=rng.choice((0.0, 0.1, 0.4)),
            crash=rng.choice((0.0, 0.005, 0.02)),
            cut=rng.choice((0.0, 0.0, 0.01)),
            drop=rng.choice((0.0, 0.1, 0.4)),
            double=rng.choice((0.0, 0.1, 0.4)),
            early=rng.choice((0.0, 0.1)),
            flaky=rng.choice((0.0, 0.0, 0.1)),
            ignorant=rng.random() < 0.2,
            scheduled=rng.random() < 0.2,
            focus=rng.choice(("", "events", "effects", "effects", "children")),
            control=rng.choice((0.3, 1.0, 1.0, 4.0)),
        )
        if profile.focus == "events":
            names = rng.choice((("a",), ("a",), ("a", "b")))
            profile = replace(profile, names=names, sessions=("s0",))
        return profile.without_faults() if rng.random() < 0.08 else profile

    def without_faults(self) -> Profile:
        """Nothing goes wrong; processes still interleave."""
        return replace(
            self,
            freeze=0.0,
            crash=0.0,
            cut=0.0,
            drop=0.0,
            double=0.0,
            early=0.0,
            flaky=0.0,
            ignorant=False,
        )
