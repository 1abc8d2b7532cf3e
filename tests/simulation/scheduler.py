"""Who does what next: faults and clients for a while, then calm, until nothing is left to do."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate

from abstractruntime.core.models import RunStatus
from workers.client import Client

from .fibers import Fiber
from .outside import Call
from .world import TIMING, World

__all__ = ["Scheduler"]

MAX_DRAIN_ROUNDS = 2500


class Scheduler:
    """Drives a world from its first start to the last commit."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._started: list[str] = []
        self._paused: list[str] = []
        self._events = 0
        control = world.profile.control
        actions: list[tuple[float, Callable[[], None]]] = [
            (75, self._work),
            (5, self._start),
            (10 if world.profile.focus == "events" else 5, self._emit),
            (4, self._answer),
            (6, self._sweep),
            (6, self._pass_time),
            (5 if world.schedules else 0, world.pulse),
            (8, self._beat),
            (3, self._thaw),
            (3, self._stall),
            (1.5, self._kill),
            (1, self._break_broker),
            (2, self._repeat_old_message),
            (1.5 * control, self._cancel),
            (3 * control, self._pause),
            (3 * control, self._unpause),
            (2 * control, self._retry),
            (control, self._change_limits),
        ]
        self._actions = [action for _, action in actions]
        self._weights = list(accumulate(weight for weight, _ in actions))

    def run(self) -> None:
        """Faults for as many actions as the profile says, then calm."""
        world = self._world
        self._start()
        for number in range(world.profile.actions):
            if world.journal.violations:
                return
            world.begin(str(number))
            if not world.profile.patient:
                world.time += self._rng.choice((0.0, 0.001, 0.05, 0.5))
            action = self._rng.choices(self._actions, cum_weights=self._weights)[0]
            if world.happens():
                action()
        world.begin("end")
        self._drain()

    # -- processes ------------------------------------------------------------------------------

    def _work(self) -> None:
        """A worker takes a message, or somebody who was interrupted goes on."""
        if self._rng.random() < 0.5 and self._deliver():
            return
        if not self._go_on():
            self._deliver()

    def _runnable(self) -> list[Fiber]:
        return [
            fiber
            for fiber in self._world.fibers.alive
            if not fiber.frozen
            and (fiber.blocked_on is None or self._world.database.is_free(fiber.blocked_on))
        ]

    def _go_on(self) -> bool:
        runnable = self._runnable()
        if runnable:
            self._world.fibers.go_on(self._rng.choice(runnable))
        return bool(runnable)

    def _thaw(self) -> None:
        frozen = [fiber for fiber in self._world.fibers.alive if fiber.frozen]
        if frozen:
            fiber = self._rng.choice(frozen)
            fiber.frozen = False
            self._world.trace(f"{fiber.label} is thawed")

    def _stall(self) -> None:
        """A process in the middle of an effect stops for longer than its lease, while others go on."""
        world = self._world
        calls = self._in_flight()
        fiber = self._rng.choice(calls).fiber if calls and world.profile.freeze else None
        if fiber is not None:
            fiber.frozen = True
            world.trace(f"{fiber.label} stalls")
            world.time += TIMING.lease_s + 1
            self._sweep()

    def _kill(self) -> None:
        alive = self._world.fibers.alive
        if alive and self._world.profile.crash:
            fiber = self._rng.choice(alive)
            self._world.trace(f"KILL {fiber.label}")
            self._world.fibers.kill(fiber)

    def _deliver(self) -> bool:
        world = self._world
        idle = [worker for worker in world.workers if worker.busy is None]
        if not idle or not world.broker.queue:
            return False
        early = world.chance("early")
        ready = range(len(world.broker.queue)) if early else world.broker.ready()
        if ready:
            world.deliver(world.broker.take(self._rng.choice(ready)), self._rng.choice(idle))
        return bool(ready)

    def _repeat_old_message(self) -> None:
        broker = self._world.broker
        if broker.delivered and self._world.profile.double:
            broker.put(self._rng.choice(broker.delivered))

    def _break_broker(self) -> None:
        world = self._world
        if not world.profile.drop:
            return
        if self._rng.random() < 0.5:
            world.broker.away = not world.broker.away
            world.trace(f"broker {'away' if world.broker.away else 'back'}")
        else:
            world.broker.queue.clear()
            world.trace("broker flushed")

    def _sweep(self) -> None:
        self._world.sweep(batch=self._rng.choice((1, 3, 100)))
        if self._rng.random() < 0.3:
            self._world.sweep()

    def _beat(self) -> None:
        """Threads of frozen processes don't beat."""
        world = self._world
        pulses = [pulse for pulse in world.pulses if pulse.fiber is None or not pulse.fiber.frozen]
        if pulses:
            pulse = self._rng.choice(pulses)
            world.spawn(f"heartbeat {pulse.run_id}", pulse.beat, lambda fiber: None)

    def _pass_time(self) -> None:
        if self._world.profile.patient:
            if not self._world.fibers.alive and not self._world.broker.ready():
                self._wake_the_next()
            return
        seconds = self._rng.choice((1.0, 4.0, 11.0, 31.0, 100.0))
        self._world.time += seconds
        self._world.trace(f"{seconds:g} s pass")

    # -- clients --------------------------------------------------------------------------------

    def _call(self, label: str, operation: Callable[[Client], object]) -> None:
        self._world.call(label, lambda: operation(self._world.client))

    def _in_flight(self) -> list[Call]:
        """Outside calls that have not come back."""
        alive = set(self._world.fibers.alive)
        return [call for call in self._world.outside.calls if not call.returned and call.fiber in alive]

    def _any_run(self) -> str | None:
        calls = self._in_flight()
        if calls and self._rng.random() < 0.4:
            return self._rng.choice(calls).run_id  # what people order meets an effect in flight
        known = list(self._world.journal.runs)
        return self._rng.choice(known) if known else None

    def _start(self) -> None:
        world = self._world
        again = self._started and self._rng.random() < 0.2
        if not again:
            self._started.append(f"run{len(self._started)}")
        run_id = self._rng.choice(self._started) if again else self._started[-1]
        chosen = world.starts.setdefault(
            run_id,
            (self._rng.choice(list(world.flows)), self._rng.choice(self._world.profile.sessions), world.time),
        )
        workflow_id, session_id, epoch = chosen
        self._call(
            f"start {run_id}",
            lambda client: client.start(
                workflow_id, {"path": [], "epoch": epoch}, run_id=run_id, session_id=session_id
            ),
        )

    def _emit(self) -> None:
        if self._events and self._rng.random() < 0.15:
            number = self._rng.randrange(self._events)  # sent again: accepted once
        else:
            number = self._events
            self._events += 1
        name = self._rng.choice(self._world.profile.names)
        session_id, run_id = self._rng.choice(self._world.profile.sessions), self._any_run()
        scopes = ("session", "session", "session", "session", "run", "global", "workflow")
        scope = self._rng.choice(scopes[:4] if self._world.profile.focus == "events" else scopes)
        if scope == "run" and run_id is None:
            return
        workflow_id = self._rng.choice(list(self._world.flows))
        self._call(
            f"emit e{number} {scope} {name}",
            lambda client: client.emit_event(
                name,
                {"number": number},
                scope=scope,
                session_id=session_id,
                workflow_id=workflow_id,
                run_id=run_id,
                event_id=f"e{number}",
            ),
        )

    def _waiting(self) -> list[str]:
        return [id_ for id_, run in self._world.journal.runs.items() if run.status is RunStatus.WAITING]

    def _answer(self) -> None:
        waiting = self._waiting()
        if waiting:
            run_id, any_wait = self._rng.choice(waiting), self._rng.random() < 0.2
            verb = Client.resume if any_wait else Client.respond
            self._call(f"answer {run_id}", lambda client: verb(client, run_id, {"answer": run_id}))

    def _cancel(self) -> None:
        run_id = self._any_run()
        if run_id is not None:
            self._call(f"cancel {run_id}", lambda client: client.cancel(run_id))

    def _pause(self) -> None:
        run_id = self._any_run()
        if run_id is not None:
            self._paused.append(run_id)
            self._call(f"pause {run_id}", lambda client: client.pause(run_id))

    def _unpause(self) -> None:
        run_id = self._rng.choice(self._paused) if self._paused else self._any_run()
        if run_id is not None:
            self._call(f"unpause {run_id}", lambda client: client.unpause(run_id))

    def _retry(self) -> None:
        failed = [id_ for id_, run in self._world.journal.runs.items() if run.status is RunStatus.FAILED]
        if failed:
            run_id = self._rng.choice(failed)
            self._call(f"retry {run_id}", lambda client: client.retry(run_id))

    def _change_limits(self) -> None:
        run_id = self._any_run()
        if run_id is not None:
            limits = {"max_iterations": self._rng.randint(5, 50)}
            self._call(f"limits {run_id}", lambda client: client.update_limits(run_id, limits))

    # -- calm -----------------------------------------------------------------------------------

    def _drain(self) -> None:
        """Nothing goes wrong any more; whatever can go on must now come to its end by itself."""
        world = self._world
        world.trace("--- faults stop ---")
        if world.profile.drop and self._rng.random() < 0.5:
            world.broker.queue.clear()
        world.profile = world.profile.without_faults()
        world.broker.away = False
        world.learn()
        for fiber in world.fibers.alive:
            fiber.frozen = False
        if world.schedules:
            world.pulse()
        self._come_to_rest()
        if self._rng.random() < 0.5:
            for run_id in dict.fromkeys(self._paused):
                self._call(f"unpause {run_id}", lambda client, run_id=run_id: client.unpause(run_id))
            self._come_to_rest()

    def _come_to_rest(self) -> None:
        world = self._world
        for _ in range(MAX_DRAIN_ROUNDS):
            if world.journal.violations or not self._drain_a_bit():
                return
        alive = ", ".join(fiber.label for fiber in world.fibers.alive)
        awake = world.database.awake
        world.journal.violate(f"never comes to rest: {alive or 'no task'}; awake {sorted(awake)[:5]}")

    def _drain_a_bit(self) -> bool:
        if self._go_on() or self._deliver():
            return True
        world = self._world
        if not world.fibers.alive:
            return self._wake_the_next()
        waiting = ", ".join(f"{fiber.label} on {fiber.blocked_on}" for fiber in world.fibers.alive)
        world.journal.violate(f"tasks wait for each other: {waiting}")
        return False

    def _wake_the_next(self) -> bool:
        """Time goes on to the next wake-up; the sweep finds it."""
        world = self._world
        awake = world.database.awake
        times = [*awake.values(), *(mail.ready_at for mail in world.broker.queue)]
        if not times:
            return False
        world.time = max(world.time, min(times)) + TIMING.grace_s / 100
        world.sweep()
        return True
