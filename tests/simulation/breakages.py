"""Deliberate mistakes. The simulation is worth what it catches: each of these must break some seed soon."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from abstractruntime.core.models import RunState
from abstractruntime.schedule import Schedule
from abstractruntime.storage.checkpoints import Checkpoint, Task, Write, Written
from workers import control as client_control
from workers import engine as engine_module
from workers import schedules
from workers.commits import Batch, Commits
from workers.deployment import Deployment
from workers.effects import EffectRunner
from workers.engine import Engine
from workers.hints import Message
from workers.placement import Placement, placement, timer

from .database import SimulatedDatabase, SimulatedUnit

__all__ = ["BREAKAGES"]

Breakage = Callable[[], Any]

BREAKAGES: dict[str, Breakage] = {}


def _breakage(make: Callable[[], Iterator[None]]) -> Callable[[], Any]:
    manager = contextmanager(make)
    BREAKAGES[make.__name__.strip("_")] = manager
    return manager


@_breakage
def no_version_check() -> Iterator[None]:
    """Whoever commits last wins."""
    write = SimulatedUnit.write

    def careless(self: SimulatedUnit, change: Write) -> Written:
        stored = self._database.inner._tables.runs[change.run.run_id].summary.version
        return write(self, replace(change, before=_at(change.before, stored)))

    with patch.object(SimulatedUnit, "write", careless):
        yield


def _at(checkpoint: Checkpoint, version: int) -> Checkpoint:
    return replace(checkpoint, version=version)


@_breakage
def no_guard_against_completed() -> Iterator[None]:
    """An effect whose key has completed is begun again."""
    write = SimulatedUnit.write

    def careless(self: SimulatedUnit, change: Write) -> Written:
        return write(self, replace(change, unless_completed=()))

    with patch.object(SimulatedUnit, "write", careless):
        yield


@_breakage
def publish_before_commit() -> Iterator[None]:
    """Messages leave while the transaction may still fail."""

    @contextmanager
    def batch(self: Commits) -> Iterator[Batch]:
        with self.store.unit() as unit:
            made = Batch(unit, engine_module.StepClock(unit.now))
            yield made
            self.publish(made.messages)

    with patch.object(Commits, "batch", batch):
        yield


@_breakage
def wake_up_only_by_message() -> Iterator[None]:
    """A runnable run is not in the wake-up index: a lost message loses it."""

    def hint_only(run: Any, now: float, timing: Any, **rest: Any) -> Placement:
        return replace(placement(run, now, timing, **rest), wake_at=None)

    with patch("workers.commits.placement", hint_only):
        yield


@_breakage
def hints_of_earlier_steps_dropped() -> Iterator[None]:
    """A tick of several steps publishes what the last of them sent; children and listeners that were woken
    before are left to the sweep."""
    step, take_steps = Engine._step, Engine._take_steps
    last: list[list[Message]] = [[]]

    def noted(self: Engine, *arguments: Any, **options: Any) -> Any:
        after, sent = step(self, *arguments, **options)
        last[0] = sent or last[0]
        return after, sent

    def careless(self: Engine, checkpoint: Checkpoint, messages: list[Message]) -> None:
        last[0] = []
        take_steps(self, checkpoint, messages)
        messages[:] = last[0]

    with patch.object(Engine, "_step", noted), patch.object(Engine, "_take_steps", careless):
        yield


@_breakage
def no_lock_on_events() -> Iterator[None]:
    """An event and a run that begins to wait for it don't see each other."""

    def careless(self: SimulatedUnit, keys: Iterable[str]) -> None:
        self._statement("lock_keys")

    with patch.object(SimulatedUnit, "lock_keys", careless):
        yield


@_breakage
def events_not_marked_as_consumed() -> Iterator[None]:
    """A buffered event resumes the same run again and again."""
    with patch.object(SimulatedUnit, "consume", lambda self, run_id, wait_key, seq: None):
        yield


@_breakage
def no_inbox() -> Iterator[None]:
    """An event that comes before its run waits is gone."""
    with patch.object(SimulatedUnit, "next_event", lambda self, run_id, keys, since: None):
        yield


@_breakage
def parents_not_told() -> Iterator[None]:
    """A child's end does not resume its parent."""
    with patch.object(Commits, "_resume_parent", lambda self, batch, change: None):
        yield


@_breakage
def unpaused_parents_not_told() -> Iterator[None]:
    """A parent that was paused when its child ended is forgotten."""
    with patch.object(client_control.Control, "_met_child", lambda self, batch, made, child: made):
        yield


@_breakage
def outcomes_not_fenced() -> Iterator[None]:
    """A worker that lost its claim still records its outcome."""

    def careless(self: EffectRunner, run_id: str, step: Any) -> Checkpoint:
        current = self._store.load(run_id)
        assert current is not None
        return current

    with patch.object(EffectRunner, "_still_claimed", careless):
        yield


@_breakage
def outcomes_dropped_in_a_race() -> Iterator[None]:
    """Pausing a run throws away the outcome of the effect in flight."""
    with patch("workers.effects.MAX_RECORD_TRIES", 0):
        yield


@_breakage
def claim_not_recorded() -> Iterator[None]:
    """The outside is called before the attempt is durable."""
    commit_write = Commits.commit_write

    def careless(self: Commits, write: Write, place: Any, clock: Any) -> Any:
        if write.lease_until is not None:
            return replace(write.before, step=write.step), []
        return commit_write(self, write, place, clock)

    with patch.object(Commits, "commit_write", careless):
        yield


@_breakage
def half_steps() -> Iterator[None]:
    """A transaction that is broken off leaves what it wrote so far."""

    def careless(self: SimulatedUnit) -> None:
        if self._inner is None:
            self.show()
        self.settle()

    with patch.object(SimulatedUnit, "roll_back", careless):
        yield


@_breakage
def sweep_forgets_effects() -> Iterator[None]:
    """The sweep sends every run a tick, also the one whose effect was lost."""
    claim_due = SimulatedDatabase.claim_due

    def careless(self: SimulatedDatabase, *, limit: int, grace_s: float) -> Any:
        return [replace(due, task=Task.TICK) for due in claim_due(self, limit=limit, grace_s=grace_s)]

    with patch.object(SimulatedDatabase, "claim_due", careless):
        yield


@_breakage
def orders_overwritten() -> Iterator[None]:
    """The outcome of an effect puts back the variables from before a control command."""

    def careless(held: RunState, current: RunState) -> None:
        current.vars = dict(held.vars)

    with patch("workers.effects._carry_vars", careless):
        yield


@_breakage
def paused_runs_go_on() -> Iterator[None]:
    """Workers don't look at the pause mark."""
    with (
        patch("workers.loading.is_paused", lambda run: False),
        patch("workers.commits.is_paused", lambda run: False),
    ):
        yield


@_breakage
def poison_never_stops() -> Iterator[None]:
    """A step that kills its worker is tried for ever."""
    count = EffectRunner.take_over

    def careless(self: EffectRunner, checkpoint: Checkpoint) -> Any:
        return count(self, replace(checkpoint, attempts=0))

    with patch.object(EffectRunner, "take_over", careless):
        yield


@_breakage
def timers_forgotten() -> Iterator[None]:
    """A timer is sent to the broker and nowhere else."""

    def hint_only(due_at: float, now: float, timing: Any) -> Placement:
        return replace(timer(due_at, now, timing), wake_at=None)

    with patch("workers.placement.timer", hint_only):
        yield


@_breakage
def schedules_move_on_first() -> Iterator[None]:
    """A schedule's cursor moves on before its occurrences are started."""

    def careless(deployment: Deployment, schedule: Schedule) -> int:
        store = deployment.store
        seen, now = store.schedule_cursor(schedule.schedule_id), store.now()
        store.advance_schedule(schedule.schedule_id, seen=seen, to=now)
        times = schedule.occurrences(seen, now)
        return sum(schedules._start(deployment, schedule, nominal) for nominal in times)

    with patch.object(schedules, "_fire", careless):
        yield
