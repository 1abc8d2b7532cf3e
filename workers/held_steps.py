"""Steps of one tick that are taken and not written yet (`tick_max_steps` > 1).

A step that leaves its run runnable and touches nothing else may wait a moment for the next one: both are then
one write. What is held is lost with its worker and taken again, like any step that was not committed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from abstractruntime.core.models import RunStatus, StepRecord
from abstractruntime.core.transition import Transition
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore, Write

__all__ = [
    "HeldCheckpoint",
    "StepBudget",
    "TakeOneByOne",
    "hold_step",
    "holds_key",
    "is_held",
    "ledger_of",
    "with_held",
]


class TakeOneByOne(Exception):
    """A step can't be written together with those held before it: they are taken again, each by itself."""


class StepBudget:
    """How much one tick may do while its run stays runnable.

    Args:
        max_steps: most steps.
        budget_ms: milliseconds after which no further step is begun.
        hold_ms: milliseconds for which a step may wait to be written together with the next one.
    """

    def __init__(self, max_steps: int = 1, budget_ms: float = 1000.0, hold_ms: float = 20.0) -> None:
        self.max_steps = max_steps
        self.budget_s = budget_ms / 1000.0
        self.hold_s = min(hold_ms, budget_ms) / 1000.0

    def pace(self, checkpoint: Checkpoint) -> Pace:
        """Begin a tick."""
        # A step that the sweep had to send again may be the one that kills its worker: alone it is found.
        return Pace(self, may_hold=checkpoint.redeliveries <= 0)


class Pace:
    """One tick's use of its budget."""

    def __init__(self, budget: StepBudget, *, may_hold: bool) -> None:
        self._budget = budget
        self._may_hold = may_hold
        self._taken = 0
        self._began = self._hold_began = monotonic()

    def may_hold(self) -> bool:
        """Whether the step that begins now may wait for the one after it."""
        if not self._may_hold or self._taken + 1 >= self._budget.max_steps:
            return False
        return monotonic() - self._hold_began < self._budget.hold_s

    def hold_no_more(self) -> None:
        """From now on each step is written by itself."""
        self._may_hold = False

    def is_over(self, before: Checkpoint, after: Checkpoint) -> bool:
        """Whether the tick ends with this step."""
        self._taken += 1
        now = monotonic()
        if not is_held(after):
            self._hold_began = now
        if after is before or self._taken >= self._budget.max_steps:  # the same: deferred
            return True
        if after.run.status is not RunStatus.RUNNING or after.step is not None:
            return True
        return now - self._began > self._budget.budget_s or (after.due_at or 0.0) > after.now


@dataclass(slots=True)
class HeldCheckpoint(Checkpoint):
    """A checkpoint that exists in this worker only.

    Attributes:
        stored: the one in the store, which it has the version of.
        records: what the ledger does not have yet.
        keys: idempotency keys of the effects among them.
    """

    stored: Checkpoint = field(kw_only=True)
    records: list[StepRecord] = field(default_factory=list, kw_only=True)
    keys: tuple[str, ...] = field(default=(), kw_only=True)


def hold_step(before: Checkpoint, change: Transition, keys: tuple[str, ...], *, now: float) -> HeldCheckpoint:
    """The checkpoint after a step that is not written."""
    stored = before
    records, held_keys = [*change.records], keys
    if isinstance(before, HeldCheckpoint):
        stored = before.stored
        records, held_keys = [*before.records, *records], before.keys + keys
    return HeldCheckpoint(
        change.run,
        stored.version,
        ledger_seq=stored.ledger_seq + len(records),
        depth=stored.depth,
        wake_at=stored.wake_at,
        started_at=stored.started_at,
        now=now,
        priority=stored.priority,
        admission=stored.admission,
        stored=stored,
        records=records,
        keys=held_keys,
    )


def is_held(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is not written yet."""
    return isinstance(checkpoint, HeldCheckpoint)


def holds_key(checkpoint: Checkpoint, key: str) -> bool:
    """Whether an effect with this key is among the steps that are not written yet."""
    return isinstance(checkpoint, HeldCheckpoint) and key in checkpoint.keys


def ledger_of(checkpoint: Checkpoint, store: CheckpointStore) -> list[dict[str, Any]]:
    """The run's records, with those that are not written yet."""
    records = [entry.record for entry in store.ledger(checkpoint.run.run_id)]
    if isinstance(checkpoint, HeldCheckpoint):
        records += [record.to_dict() for record in checkpoint.records]
    return records


def with_held(write: Write) -> Write:
    """The write and the steps that were held before it, as one."""
    before = write.before
    if not isinstance(before, HeldCheckpoint):
        return write
    return replace(
        write,
        before=before.stored,
        records=[*before.records, *write.records],
        unless_completed=before.keys + write.unless_completed,
    )
