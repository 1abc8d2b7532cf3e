"""Carries out the schedule of faults, each in a thread of its own, so that the next can hit meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event, Lock, Thread

from redis.exceptions import RedisError

from abstractruntime.core.errors import RuntimeFault

from .crew import Processes
from .kinds import Kind
from .recovery import Recovery
from .schedule import PlannedFault
from .servers import Broker, RunsDatabase

__all__ = ["Injected", "Injector"]


@dataclass(slots=True)
class Injected:
    """What became of a planned fault.

    Attributes:
        began_s, ended_s: seconds after the start of the chaos.
        missed: why it could not be done (its target was down already); empty if it was.
    """

    planned: PlannedFault
    began_s: float
    ended_s: float = 0.0
    missed: str = ""


class Injector:
    """`start` it, and `finish` it when the time is over."""

    def __init__(
        self,
        faults: Sequence[PlannedFault],
        processes: Processes,
        broker: Broker,
        database: RunsDatabase,
        recovery: Recovery,
        *,
        say: Callable[[str], None],
    ) -> None:
        self._faults = faults
        self._processes = processes
        self._broker = broker
        self._database = database
        self._recovery = recovery
        self._say = say
        self._lock = Lock()
        self._ending = Event()
        self._began = time.monotonic()
        self._threads: list[Thread] = []
        self._conductor = Thread(target=self._conduct, name="faults", daemon=True)
        self.injected: list[Injected] = []

    def start(self) -> None:
        """Begin the schedule now."""
        self._began = time.monotonic()
        self._conductor.start()

    def finish(self) -> None:
        """No further faults; those under way end, then everything is there again."""
        self._ending.set()
        self._conductor.join()
        for thread in self._threads:
            thread.join()
        self._broker.mend()
        self._database.mend()
        self._processes.disarm()

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _conduct(self) -> None:
        for planned in self._faults:
            if self._ending.wait(max(0.0, planned.at_s - self._now())):
                return
            thread = Thread(target=self._inject, args=(planned,), name=planned.kind.value, daemon=True)
            self._threads.append(thread)
            thread.start()

    def _inject(self, planned: PlannedFault) -> None:
        injected = Injected(planned, self._now())
        with self._lock:
            self.injected.append(injected)
        try:
            self._do(planned, injected)
        except (LookupError, RuntimeFault, RedisError, OSError) as exc:
            # Another fault was faster: what this one needs is down at this moment.
            injected.missed = f"{type(exc).__name__}: {exc}"[:200]
        injected.ended_s = self._now()

    def _do(self, planned: PlannedFault, injected: Injected) -> None:
        kind = planned.kind
        lasts = f" for {planned.lasts_s:.1f} s" if planned.lasts_s else ""
        text = f"{injected.began_s:6.1f} s  {kind.value} {planned.target or planned.rule}{lasts}"
        self._say(text + (f" ({planned.rule})" if planned.rule and planned.target else ""))
        if kind in (
            Kind.KILL_TICKS,
            Kind.KILL_EFFECTS,
            Kind.KILL_BEAT,
            Kind.KILL_RESUMER,
            Kind.KILL_AT_POINT,
        ):
            self._processes.kill(planned.target, rule=planned.rule)
            self._recovery.begin(injected.planned, "kill")
        elif kind in (Kind.FREEZE_TICKS, Kind.FREEZE_EFFECTS, Kind.FREEZE_RESUMER):
            self._freeze(planned)
        elif kind is Kind.TWO_BEATS:
            self._two_beats(planned.lasts_s)
        elif kind in (Kind.BROKER_FLUSH, Kind.BROKER_CUT, Kind.BROKER_RESTART, Kind.BROKER_AWAY):
            self._hurt_broker(kind, planned.lasts_s)
            self._recovery.begin(planned, "broker")
        else:
            self._hurt_database(kind, planned.lasts_s)
            self._recovery.begin(planned, "database")

    def _freeze(self, planned: PlannedFault) -> None:
        child = self._processes.freeze(planned.target)
        try:
            # Others take over while it is frozen: its recovery is counted from the beginning.
            self._recovery.begin(planned, "freeze")
            self._ending.wait(planned.lasts_s)
        finally:
            self._processes.thaw(child)

    def _two_beats(self, seconds: float) -> None:
        name = self._processes.add_beat()
        try:
            self._ending.wait(seconds)
        finally:
            self._processes.remove(name)

    def _hurt_broker(self, kind: Kind, seconds: float) -> None:
        if kind is Kind.BROKER_FLUSH:
            self._broker.flush()
        elif kind is Kind.BROKER_CUT:
            self._broker.cut()
        elif kind is Kind.BROKER_RESTART:
            self._broker.restart()
        else:
            self._broker.go_away(seconds)

    def _hurt_database(self, kind: Kind, seconds: float) -> None:
        if kind is Kind.DATABASE_CUT:
            self._database.cut(seconds)
        elif kind is Kind.DATABASE_LOCK:
            self._database.lock(seconds)
        else:
            self._database.restart()
