"""What is published after a commit. Every message is a hint: losing or doubling one changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from abstractruntime.storage.checkpoints import DueRun, Task

__all__ = ["Announcement", "Dispatcher", "Handover", "Hint", "Message"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody should run this task for this version of the run, ``delay_s`` seconds after ``made_at``
    (this process's monotonic clock).

    ``node`` and ``workflow_id`` are for people who watch the queue (Flower); workers ignore them.
    ``takes_room``: it makes its queue longer, so it is not published while the queue is full; what takes the
    place of the message that its sender is carrying out is. ``first``: the commit itself sends it, not a
    sweep that found the run still there.
    """

    task: Task
    run_id: str
    version: int
    node: str
    workflow_id: str
    delay_s: float = 0.0
    made_at: float = field(default_factory=monotonic, compare=False, repr=False)
    takes_room: bool = field(default=True, compare=False, repr=False)
    first: bool = field(default=True, compare=False, repr=False)

    @classmethod
    def for_due(cls, due: DueRun, made_at: float) -> Hint:
        """The hint a sweep sends, which began its claim at ``made_at`` and has seen that there is room."""
        delay = max(0.0, due.delay_s)
        return cls(
            due.task,
            due.run_id,
            due.version,
            due.node,
            due.workflow_id,
            delay,
            made_at,
            takes_room=False,
            first=False,
        )


@dataclass(frozen=True, slots=True)
class Announcement:
    """The run has ended; whoever waits for it may look."""

    run_id: str


@dataclass(frozen=True, slots=True)
class Handover:
    """The run may have given up the slot of a start limit. Never leaves the process: before anything is
    published it becomes the hints of those who are called (`Commits.publish`)."""

    run_id: str


Message = Hint | Announcement | Handover


class Dispatcher(Protocol):
    """Publishes hints. Never raises for a broker that is away: the sweep repairs it (`DESIGN §3.5`)."""

    def send(self, messages: Sequence[Message]) -> None:
        """Publish, within the deployment's time budget."""
        ...

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        """Whether the task's queue is so long that nothing should be added to it: as far as is known, or,
        with ``look``, as the broker says now. What is withheld the sweep sends later."""
        ...
