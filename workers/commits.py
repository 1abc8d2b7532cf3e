"""Committing transitions in a fleet: one transaction for all that a step changes (`DESIGN §1.2`).

A transition of one run may move others: a child's end resumes its parent, an event resumes its listeners.
All of it is written in one unit, each run by compare-and-swap; if any of them has moved meanwhile, nothing
is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from abstractruntime.core import faults
from abstractruntime.core.control import is_paused
from abstractruntime.core.environment import Environment
from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState, RunStatus
from abstractruntime.core.resume import child_ended, resumed, wait_keys
from abstractruntime.core.traces import derive_traces
from abstractruntime.core.transition import Transition
from abstractruntime.storage.checkpoints import (
    QUEUED,
    Checkpoint,
    CheckpointStore,
    Event,
    Task,
    Unit,
    Write,
)

from .clock import KeptClock, StepClock
from .held_steps import hold_step, is_held, with_held
from .hints import Dispatcher, Handover, Hint, Message
from .limiter import STARTED, Limiter
from .lost_race import LostRace
from .placement import Placement, Timing, placement, timer
from .recent import RecentCheckpoints
from .step_writes import (
    AlreadyDone,
    after_write,
    awaits_event,
    concerns_one_run,
    demand,
    messages_of,
    step_write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["AlreadyDone", "Batch", "Commits", "LostRace", "after_write"]

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Batch:
    """One unit's writes and the messages to publish once it is committed."""

    unit: Unit
    clock: StepClock
    messages: list[Message] = field(default_factory=list)

    @property
    def env(self) -> Environment:
        """The kernel's ports over the store's clock."""
        return self.clock.environment()


class Commits:
    """Writes transitions and publishes what follows from them."""

    def __init__(
        self,
        store: CheckpointStore,
        dispatcher: Dispatcher,
        timing: Timing,
        *,
        event_ttl_s: float = 7 * 86400.0,
        new_event_id: Callable[[], str] | None = None,
        keep_clock_s: float = 0.0,
    ) -> None:
        self.store = store
        self.recent = RecentCheckpoints()
        self._clock = KeptClock(keep_clock_s)
        self.timing = timing
        self.limiter = Limiter(store, timing)
        self._dispatcher = dispatcher
        self._event_ttl_s = event_ttl_s
        self._new_event_id = new_event_id or Environment().new_id

    def publish(self, messages: list[Message]) -> None:
        """Send hints; only after their commit."""
        faults.hit("step.before_publish")
        if messages:
            self._dispatcher.send(self._handed_over(messages))

    def _handed_over(self, messages: list[Message]) -> list[Message]:
        """Hand-overs of slots become the hints of those who are called."""
        if not any(isinstance(message, Handover) for message in messages):
            return messages
        found: list[Message] = []
        for message in messages:
            if isinstance(message, Handover):
                found += self.limiter.hand_over(message.run_id, STARTED)
            else:
                found.append(message)
        return found

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """A unit whose messages are published after it is committed.

        Raises:
            LostRace: (from the body) undoes the unit.
        """
        with self.store.unit() as unit:
            batch = Batch(unit, self._clock.of(unit))
            yield batch
            faults.hit("step.before_commit")
        faults.hit("step.after_commit")
        self.publish(batch.messages)

    def commit_step(
        self,
        before: Checkpoint,
        change: Transition,
        clock: StepClock,
        *,
        unless_completed: tuple[str, ...] = (),
        may_hold: bool = False,
    ) -> tuple[Checkpoint, list[Message]]:
        """Commit one step; gives the checkpoint it made and the messages still to publish.

        Args:
            unless_completed: idempotency keys of the step's effect.
            may_hold: the next step follows at once: this one may be written together with it.

        Raises:
            LostRace: the run has moved.
            AlreadyDone: one of ``unless_completed`` is in the ledger already.
        """
        if may_hold and change.run.status is RunStatus.RUNNING:
            return hold_step(before, change, unless_completed, now=clock.epoch()), []
        if concerns_one_run(change.run):
            place = placement(change.run, clock.epoch(), self.timing, wake_at=before.wake_at)
            write = step_write(before, change, place, unless_completed)
            faults.hit("step.before_commit")
            committed = self.commit_write(write, place, clock)
            faults.hit("step.after_commit")
            return committed
        with self.store.unit() as unit:
            batch = Batch(unit, clock)
            after = self.write(batch, before, change, unless_completed=unless_completed)
            faults.hit("step.before_commit")
        faults.hit("step.after_commit")
        return after, batch.messages

    def commit_write(
        self, write: Write, place: Placement, clock: StepClock
    ) -> tuple[Checkpoint, list[Message]]:
        """Commit a write that concerns one run only, as it is.

        Raises:
            LostRace: the run has moved.
            AlreadyDone: ``write.unless_completed`` is in the ledger already.
        """
        write = with_held(write)
        messages = messages_of(write, place)  # first: the time a commit takes is part of a timer's delay
        demand(self.store.commit(write))
        after = after_write(write, clock)
        self.recent.keep(after, write.run_text, clock)
        return after, messages

    def commit_held(self, held: Checkpoint, clock: StepClock) -> tuple[Checkpoint, list[Message]]:
        """Write the steps that were held, if there are any.

        Raises:
            LostRace, AlreadyDone: see `commit_write`.
        """
        return self.commit_step(held, Transition(held.run), clock) if is_held(held) else (held, [])

    def write(
        self, batch: Batch, before: Checkpoint, change: Transition, *, unless_completed: tuple[str, ...] = ()
    ) -> Checkpoint:
        """Write a transition and all that follows from it inside ``batch``."""
        change = self._meet_buffered_event(batch, before, change)
        place = placement(change.run, batch.clock.epoch(), self.timing, wake_at=before.wake_at)
        write = with_held(step_write(before, change, place, unless_completed))
        demand(batch.unit.write(write))
        batch.messages += messages_of(write, place)
        if change.run.is_terminal and change.run.parent_run_id:
            self._resume_parent(batch, change)
        return after_write(write, batch.clock)

    def write_control(self, batch: Batch, before: Checkpoint, change: Transition) -> Checkpoint:
        """Write what a person did; an effect in flight stays claimed, so its outcome is not lost, and a
        step that waits for another try keeps its count and its time."""
        step = before.step
        keeps_running = before.run.status is change.run.status is RunStatus.RUNNING
        if step is None and not keeps_running:
            after = self.write(batch, before, change)
            if before.run.is_terminal and not after.run.is_terminal and before.admission is not None:
                self._queue_again(batch, after)
            return after
        place = self._place_in_flight(before, change.run, batch.clock.epoch())
        write = Write(
            before=before,
            run=change.run,
            records=[*change.records, *change.closing],
            step=step,
            attempts=before.attempts,
            task=before.task,
            wake_at=place.wake_at,
            due_at=place.due_at,
            lease_until=before.lease_until,
        )
        demand(batch.unit.write(write))
        batch.messages += messages_of(write, place)
        if change.run.is_terminal and change.run.parent_run_id:
            self._resume_parent(batch, change)
        return after_write(write, batch.clock)

    def _queue_again(self, batch: Batch, after: Checkpoint) -> None:
        """A run that had ended has no slot any more: it begins when its start limit admits it again."""
        wake_at = after.wake_at or batch.clock.epoch()
        batch.unit.slots.hold(
            after.run.run_id,
            after.version,
            wake_at=wake_at,
            reason="waits to be admitted again",
            admission=QUEUED,
        )

    def _place_in_flight(self, before: Checkpoint, run: RunState, now: float) -> Placement:
        if run.is_terminal or is_paused(run):
            return Placement()
        if before.lease_until is not None and before.lease_until > now:
            return Placement(wake_at=before.lease_until)
        if before.due_at is not None and before.due_at > now:
            return timer(before.due_at, now, self.timing)
        return Placement(wake_at=now + self.timing.grace_s, hint_in_s=0.0)

    def _meet_buffered_event(self, batch: Batch, before: Checkpoint, change: Transition) -> Transition:
        """A run that begins to wait takes an event that came first (`DESIGN §3, Events`)."""
        run = change.run
        if not awaits_event(run) or run.waiting is None:
            return change
        keys = wait_keys(run.waiting)
        batch.unit.lock_keys(keys)
        event = batch.unit.next_event(run.run_id, keys, since=before.started_at)
        if event is None:
            return change
        batch.unit.consume(run.run_id, event.wait_key, event.seq)
        went_on = resumed(run, deepcopy(event.payload), batch.env)
        return Transition(went_on.run, [*change.records, *went_on.records], went_on.closing)

    def emit(self, batch: Batch, event: Event) -> list[RunState] | None:
        """Put an event in the inbox and resume who waits for it; ``None`` if its id is known already."""
        keys = [event.wait_key] if event.wildcard_key is None else [event.wait_key, event.wildcard_key]
        batch.unit.lock_keys(keys)
        seq = batch.unit.add_event(event)
        if seq is None:
            return None
        went_on = []
        for run_id, key in batch.unit.waiting_on(keys):
            listener = self._listener(batch, run_id)
            if listener is None or not awaits_event(listener.run) or run_id == event.emitter_run_id:
                continue
            batch.unit.consume(run_id, key, seq)
            change = resumed(listener.run, deepcopy(event.payload), batch.env)
            went_on.append(self.write(batch, listener, change).run)
        return went_on

    def _listener(self, batch: Batch, run_id: str) -> Checkpoint | None:
        """One run that can't be decoded must not keep an event from the others."""
        try:
            return batch.unit.load(run_id)
        except CorruptCheckpointError:
            logger.exception("run %s waits for an event but can't be decoded", run_id)
            return None

    def new_event(
        self,
        wait_key: str,
        payload: Any,
        *,
        event_id: str | None = None,
        wildcard_key: str | None = None,
        emitter_run_id: str | None = None,
    ) -> Event:
        """An event with the deployment's time to live and, if it has none, a fresh id."""
        return Event(
            event_id=event_id or self._new_event_id(),
            wait_key=wait_key,
            payload=payload,
            wildcard_key=wildcard_key,
            emitter_run_id=emitter_run_id,
            ttl_s=self._event_ttl_s,
        )

    def insert_run(
        self, batch: Batch, run: RunState, *, depth: int, priority: int = 0, is_limited: bool = False
    ) -> bool:
        """Add a runnable run; False when its id is taken. ``is_limited``: it has to be admitted first."""
        return not self.insert_runs(batch, [run], depth=depth, priority=priority, is_limited=is_limited)

    def insert_runs(
        self,
        batch: Batch,
        runs: Sequence[RunState],
        *,
        depth: int,
        priority: int = 0,
        is_limited: bool = False,
        may_send: bool = True,
    ) -> list[RunState]:
        """`insert_run` for many; those whose id is taken. ``may_send``: False leaves hints to the sweep."""
        if not runs:
            return []
        now = batch.clock.epoch()
        is_crowded = not may_send or self._dispatcher.is_full(Task.TICK)
        # The sweep feeds the queue in order.
        wake_at = now if is_crowded else placement(runs[0], now, self.timing).wake_at
        admission = QUEUED if is_limited else None
        added = batch.unit.insert_many(
            runs, depth=depth, wake_at=wake_at, priority=priority, admission=admission, unsent=is_crowded
        )
        new, taken = set(added), []
        for run in runs:
            if run.run_id not in new:
                taken.append(run)
                continue
            new.remove(run.run_id)  # a second one of the same id found it taken
            if not is_crowded:
                batch.messages.append(Hint(Task.TICK, run.run_id, 1, run.current_node, run.workflow_id))
        return taken

    def resume_parent(self, batch: Batch, child: RunState) -> None:
        """Tell the parent of an ended child, if it waits for it."""
        self._resume_parent(batch, Transition(child))

    def _resume_parent(self, batch: Batch, change: Transition) -> None:
        child = change.run
        parent = batch.unit.load(child.parent_run_id or "")
        if parent is None or parent.run.waiting is None:
            return
        traces = None
        if (parent.run.waiting.details or {}).get("include_traces"):
            written = [entry.record for entry in self.store.ledger(child.run_id)]
            new = [record.to_dict() for record in (*change.records, *change.closing)]
            traces = derive_traces([*written, *new])
        went_on = child_ended(parent.run, child, batch.env, traces=traces)
        if went_on is not None:
            self.write(batch, parent, went_on)
