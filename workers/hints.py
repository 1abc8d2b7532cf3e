"""What is published after a commit. Every message is a hint: losing or doubling one changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from abstractruntime.storage.checkpoints import DueRun, Task

__all__ = ["Announcement", "Dispatcher", "Hint", "Message"]


@dataclass(frozen=True, slots=True)
class Hint:
    """Somebody should run this task for this version of the run, ``delay_s`` seconds after ``made_at``
    (this process's monotonic clock).

    ``node`` and ``workflow_id`` are for people who watch the queue (Flower); workers ignore them.
    """

    task: Task
    run_id: str
    version: int
    node: str
    workflow_id: str
    delay_s: float = 0.0
    made_at: float = field(default_factory=monotonic, compare=False, repr=False)

    @classmethod
    def for_due(cls, due: DueRun, made_at: float) -> Hint:
        """The hint a sweep sends, which began its claim at ``made_at``."""
        delay = max(0.0, due.delay_s)
        return cls(due.task, due.run_id, due.version, due.node, due.workflow_id, delay, made_at)


@dataclass(frozen=True, slots=True)
class Announcement:
    """The run has ended; whoever waits for it may look."""

    run_id: str


Message = Hint | Announcement


class Dispatcher(Protocol):
    """Publishes hints. Never raises for a broker that is away: the sweep repairs it (`DESIGN §3.5`)."""

    def send(self, messages: Sequence[Message]) -> None:
        """Publish, within the deployment's time budget."""
        ...
