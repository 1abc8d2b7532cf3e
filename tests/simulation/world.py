"""Everything one seed consists of: a clock, a database, a broker, workers, clients, the outside."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, cast

from abstractruntime.app import App
from abstractruntime.core.errors import (
    InvalidInputError,
    UnknownRunError,
    WaitMismatchError,
)
from abstractruntime.core.models import EffectType
from abstractruntime.core.policy import DefaultEffectPolicy
from abstractruntime.schedule import Every
from abstractruntime.storage.checkpoints import Task
from workers.client import Client
from workers.commits import Commits
from workers.deployment import Deployment
from workers.effects import EffectRunner
from workers.engine import Engine
from workers.held_steps import StepBudget
from workers.placement import Timing
from workers.schedules import fire_due
from workers.settings import Settings
from workers.sweep import sweep

from .broker import Broker, Mail, ProcessDispatcher
from .database import DatabaseGone, SimulatedDatabase
from .fibers import Crash, Fiber, Fibers
from .journal import Journal
from .outside import Outside
from .ports import Pulse, simulated_ports
from .profile import Profile
from .sqlite_database import SqliteDatabase
from .workflows import Flow, draw_flows

__all__ = ["Trace", "World"]

EPOCH = 1_800_000_000.0
SETTINGS = Settings(lease=30.0, redelivery_grace=10.0, timer_horizon=30.0, event_ttl=5000.0)
TIMING = Timing.of(SETTINGS)
REFUSALS = (InvalidInputError, UnknownRunError, WaitMismatchError)
"""What a client may be told because others were faster."""

RACY = frozenset({"db.update", "db.commit", "db.waiting_on", "node"})
"""Between what a process has seen and what it makes of it: interrupted more often than elsewhere."""


class Trace:
    """What happened, line by line; kept only when somebody wants to read it."""

    def __init__(self, on: bool) -> None:
        self.lines: list[str] = []
        self._on = on
        self.clock: Callable[[], float] = lambda: EPOCH

    def __bool__(self) -> bool:
        return self._on

    def __call__(self, text: str) -> None:
        if self._on:
            running = Fibers.current()
            who = "" if running is None else f" [{running.label}]"
            self.lines.append(f"{self.clock() - EPOCH:9.3f}{who} {text}")


@dataclass(slots=True)
class Worker:
    """A slot that carries out one task at a time."""

    name: str
    engine: Engine
    knows_all: bool
    busy: Fiber | None = None


class World:
    """One seed's fleet.

    Attributes:
        rng: decides everything.
        profile: how likely faults are; replaced by a faultless one when the faults stop.
        is_calm: there were never to be any.
        happened: the decisions that were taken, see `happens`.

    Args:
        only: the decisions that may be taken; ``None`` = whatever is drawn.
    """

    def __init__(
        self,
        seed: int,
        *,
        trace: bool = False,
        profile: Profile | None = None,
        only: frozenset[str] | None = None,
    ) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.profile = profile or Profile.draw(self.rng)
        self.is_calm = self.profile.is_calm
        self.happened: list[str] = []
        self._only = only
        self._action, self._decision = "start", 0
        self.trace = Trace(trace)
        self.trace.clock = self.clock
        self.time = EPOCH
        self.journal = Journal(self.trace, self.clock, max_steps=self.profile.max_steps)
        self.fibers = Fibers(self._ended)
        self.pulses: list[Pulse] = []
        self.crashes = 0
        self.switches = 0
        self._ids = 0
        self._ends: dict[Fiber, Callable[[Fiber], None]] = {}
        self.database = self._make_database()
        self.broker = Broker(self.journal, self.clock, self.chance)
        self.outside = Outside(self.database, self.journal, self.point, self.die, self.trace)
        self.flows: dict[str, Flow] = draw_flows(self.rng, self.profile, self.point, self.die, self.chance)
        vars = {"path": [], "epoch": EPOCH}
        every = Every("every", 150.0, workflow_id="w0", vars=vars, catch_up_s=1e9)
        self.schedules = [every] if self.profile.scheduled else []
        self._app = self._make_app(list(self.flows))
        self._dispatcher = ProcessDispatcher(self.broker, self.point)
        self.client = Client(
            self._app, settings=SETTINGS, store=cast(Any, self.database), dispatcher=self._dispatcher
        )
        self._deployment = Deployment(
            SETTINGS,
            self._app,
            self.database,
            self._dispatcher,
            self._make_commits(),
            self._make_engine(self._app),
            TIMING,
        )
        self.first_pulse: float | None = None
        if self.schedules:
            self.database.inner.schedule_cursor("every")
        self.starts: dict[str, tuple[str, str, float]] = {}
        self.workers = [self._make_worker(number) for number in range(self.profile.workers)]

    # -- parts ----------------------------------------------------------------------------------

    def _make_database(self) -> SimulatedDatabase:
        parts = self.clock, self.fibers, self.journal, self.point
        if self.profile.sqlite:
            return SqliteDatabase(*parts)
        return SimulatedDatabase(*parts, serial=self.profile.serial)

    def _make_app(self, workflow_ids: list[str]) -> App:
        policy = DefaultEffectPolicy(effect_max_attempts={"llm_call": 3, "tool_calls": 2})
        app = App(
            workflows=[self.flows[name].spec for name in workflow_ids],
            policy=policy,
            schedules=self.schedules if len(workflow_ids) == len(self.flows) else (),
        )
        for kind, quick in ((EffectType.LLM_CALL, False), (EffectType.TOOL_CALLS, True)):
            app.effect(kind, quick=quick)(self.outside.handler)
        app.effect(EffectType.MEMORY_NOTE, lease_s=5.0)(self.outside.handler)
        return app

    def _make_commits(self) -> Commits:
        return Commits(
            self.database,
            self._dispatcher,
            TIMING,
            event_ttl_s=SETTINGS.event_ttl,
            new_event_id=self._new_id,
        )

    def _make_engine(self, app: App) -> Engine:
        commits = self._make_commits()
        effects = EffectRunner(app, self.database, commits)
        budget = StepBudget(self.profile.max_steps, 1000.0)
        return Engine(app, self.database, commits, effects, budget=budget)

    def _make_worker(self, number: int) -> Worker:
        ignorant = self.profile.ignorant and number == 0
        app = self._make_app(list(self.flows)[1:]) if ignorant else self._app
        return Worker(f"worker{number}", self._make_engine(app), not ignorant)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The code under test lives in this world."""
        with simulated_ports(
            clock=self.clock, new_id=self._new_id, point=self.point, nap=self._nap, pulses=self.pulses
        ):
            try:
                yield
            finally:
                self.profile = self.profile.without_faults()
                for fiber in list(self.fibers.alive):
                    self.fibers.kill(fiber)
                self.database.close()

    def _nap(self, seconds: float) -> None:
        fiber = Fibers.current()
        if fiber is not None:
            self.fibers.pause(fiber)

    def _new_id(self) -> str:
        self._ids += 1
        return f"id-{self._ids:08d}"

    def clock(self) -> float:
        return self.time

    # -- chance ---------------------------------------------------------------------------------

    def begin(self, action: str) -> None:
        """The scheduler's next action. What is drawn in it does not depend on the actions before, so that one
        can be left out and the others stay what they are."""
        self._action, self._decision = action, 0
        self.rng.seed(f"{self.seed}/{action}")

    def happens(self) -> bool:
        """Something was drawn that may also be left out: an action, an interruption, a fault."""
        name = f"{self._action}.{self._decision}"
        self._decision += 1
        if self._only is not None and name not in self._only:
            return False
        self.happened.append(name)
        return True

    def chance(self, kind: str) -> bool:
        """Whether a fault of this kind happens now."""
        probability: float = getattr(self.profile, kind)
        return probability > 0.0 and self.rng.random() < probability and self.happens()

    def die(self, name: str) -> None:
        """Poison: the code of a node or a handler kills its process."""
        fiber = Fibers.current()
        assert fiber is not None
        self.trace(f"POISON at {name}")
        fiber.dead_now = True
        raise Crash(name)

    def point(self, name: str) -> None:
        """A process may be interrupted, killed or cut off from its database here."""
        fiber = Fibers.current()
        if fiber is None:
            return
        if fiber.dead_now:
            raise Crash(name)
        # One draw for all that may happen: points are the simulation's hot path.
        profile, draw = self.profile, self.rng.random()
        draw -= profile.crash
        if draw < 0.0:
            if not self.happens():
                return
            self.trace(f"CRASH at {name}")
            fiber.dead_now = True
            raise Crash(name)
        if name.startswith("db."):
            draw -= profile.cut
            if draw < 0.0:
                if not self.happens():
                    return
                self.trace(f"connection lost at {name}")
                raise DatabaseGone(name)
        if name == "effect.inside":
            draw -= profile.slow
        else:
            draw -= profile.switch * (2 if name in RACY else 1)
        if draw < 0.0 and self.happens():
            self.switches += 1
            fiber.frozen = self.chance("freeze")
            if self.trace:
                self.trace(f"{'frozen' if fiber.frozen else 'interrupted'} at {name}")
            self.fibers.pause(fiber)

    # -- processes ------------------------------------------------------------------------------

    def spawn(
        self,
        label: str,
        body: Callable[[], object],
        on_end: Callable[[Fiber], None],
        *,
        is_client: bool = False,
    ) -> None:
        """Start a process; ``on_end`` hears how it ended."""

        def prepare(fiber: Fiber) -> None:
            fiber.is_client = is_client
            self._ends[fiber] = on_end

        self.trace(f"-> {label}")
        self.fibers.spawn(label, body, prepare)

    def _ended(self, fiber: Fiber) -> None:
        if fiber.crashed:
            self.crashes += 1
        error = fiber.error
        expected = (DatabaseGone, *REFUSALS) if fiber.is_client else DatabaseGone
        if error is not None and not isinstance(error, expected):
            self.journal.violate(f"{fiber.label} raised {type(error).__name__}: {error}")
        self._ends.pop(fiber)(fiber)

    def deliver(self, mail: Mail, worker: Worker) -> None:
        """A worker takes a message."""

        def body() -> None:
            worker.busy = Fibers.current()
            if mail.task is Task.EFFECT:
                worker.engine.effect(mail.run_id, mail.version)
            else:
                worker.engine.tick(mail.run_id, mail.version, first=mail.first)

        def ended(fiber: Fiber) -> None:
            worker.busy = None
            lost_its_database = isinstance(fiber.error, DatabaseGone)
            for call in self.outside.calls:
                if call.fiber is fiber:
                    call.safe = call.returned and not fiber.crashed and not lost_its_database
            # Late acknowledgement and Celery's retries: some of what was under way comes again.
            if (fiber.crashed or lost_its_database) and self.rng.random() < 0.5:
                self.broker.put(mail)

        self.spawn(f"{worker.name} {mail.task.value} {mail.run_id} v{mail.version}", body, ended)

    def call(self, label: str, operation: Callable[[], object], *, tries: int = 3) -> None:
        """A client calls; it tries again when its connection broke."""

        def ended(fiber: Fiber) -> None:
            if isinstance(fiber.error, DatabaseGone) and tries > 1:
                self.call(label, operation, tries=tries - 1)

        self.spawn(label, operation, ended, is_client=True)

    def sweep(self, *, batch: int = 100) -> None:
        """One pulse of the sweep, in a process of its own."""

        def body() -> None:
            sent = sweep(self.database, self._dispatcher, TIMING, batch=batch)
            self.trace(f"sweep sent {sent}")

        self.spawn("sweep", body, lambda fiber: None)

    def pulse(self) -> None:
        """Beat's message to start what is scheduled, taken by some worker."""
        if self.first_pulse is None:
            self.first_pulse = self.time
        self.spawn("schedules", lambda: fire_due(self._deployment), lambda fiber: None)

    def learn(self) -> None:
        """The rolling deploy is over: every worker knows every workflow."""
        for worker in self.workers:
            if not worker.knows_all:
                worker.engine = self._make_engine(self._app)
                worker.knows_all = True
