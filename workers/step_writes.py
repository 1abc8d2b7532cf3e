"""One run's write, made of a transition: what is stored, what is published, and the checkpoint afterwards."""

from __future__ import annotations

from abstractruntime.core.control import is_paused
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.transition import Transition
from abstractruntime.storage.checkpoints import Checkpoint, Task, Write, Written

from .clock import StepClock
from .hints import Announcement, Handover, Hint, Message
from .lost_race import LostRace
from .placement import Placement

__all__ = [
    "AlreadyDone",
    "after_write",
    "awaits_event",
    "concerns_one_run",
    "demand",
    "messages_of",
    "step_write",
]


class AlreadyDone(Exception):
    """The ledger holds a completed record with this key; nothing was written."""


def demand(written: Written) -> None:
    """Nothing but success goes on.

    Raises:
        LostRace, AlreadyDone: see `Written`.
    """
    if written is Written.CONFLICT:
        raise LostRace
    if written is Written.ALREADY_DONE:
        raise AlreadyDone


def awaits_event(run: RunState) -> bool:
    """Whether an event may wake the run now."""
    if run.status is not RunStatus.WAITING or run.waiting is None or is_paused(run):
        return False
    return run.waiting.reason is WaitReason.EVENT


def concerns_one_run(run: RunState) -> bool:
    """Whether the commit touches this run only: no buffered event to meet, no parent to resume."""
    return not awaits_event(run) and not (run.is_terminal and run.parent_run_id)


def step_write(
    before: Checkpoint, change: Transition, place: Placement, unless_completed: tuple[str, ...]
) -> Write:
    """The write of one step."""
    return Write(
        before=before,
        run=change.run,
        records=[*change.records, *change.closing] if change.closing else change.records,
        wake_at=place.wake_at,
        due_at=place.due_at,
        unless_completed=unless_completed,
    )


def messages_of(write: Write, place: Placement) -> list[Message]:
    """What is to be published once the write is committed."""
    run, before = write.run, write.before
    if run.is_terminal:
        ended: list[Message] = [Announcement(run.run_id)]
        return ended if before.admission is None else [*ended, Handover(run.run_id)]
    parked: list[Message] = []
    if before.admission is not None and run.status is RunStatus.WAITING:
        parked.append(Handover(run.run_id))
    if place.hint_in_s is None:
        return parked
    version = before.version + 1
    # A tick that follows a tick takes the place of its message in the queue.
    follows = write.task is Task.TICK is before.task and before.run.status is RunStatus.RUNNING
    hint = Hint(
        write.task,
        run.run_id,
        version,
        run.current_node,
        run.workflow_id,
        place.hint_in_s,
        takes_room=not follows,
    )
    return [*parked, hint]


def after_write(write: Write, clock: StepClock) -> Checkpoint:
    """The checkpoint as it is now stored, without reading it again."""
    before = write.before
    return Checkpoint(
        run=write.run,
        version=before.version + 1,
        ledger_seq=before.ledger_seq + len(write.records),
        depth=before.depth,
        step=write.step,
        attempts=write.attempts,
        task=write.task,
        wake_at=write.wake_at,
        due_at=write.due_at,
        lease_until=write.lease_until,
        started_at=before.started_at,
        now=clock.epoch(),
        priority=before.priority,
        admission=before.admission,
    )
