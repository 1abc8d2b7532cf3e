"""Back-pressure: no queue grows beyond a mark, however many runs are runnable.

What is withheld is not lost: the run's ``wake_at`` stands in the database, and the sweep feeds the queue in
order of urgency as it drains. So neither the broker's memory nor a worker's grows with the backlog. The depth
is a hint like any message: looked at now and then, and nothing depends on it being right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic

from abstractruntime.storage.checkpoints import Task

__all__ = ["QueueDepth"]

LOOK_EVERY_S = 0.25
FULL_FOR_S = 0.1
KNOWN_FOR_S = 1.0
SHARE = 8
"""Before it looks again a publisher takes at most this part of the room, because others publish too."""


@dataclass(slots=True)
class _Seen:
    depth: int = 0
    at: float = float("-inf")
    left: int = 0


class QueueDepth:
    """What one process knows of its queues' lengths. Racing threads cost a look more, nothing else.

    Args:
        mark: messages from which on a queue is full.
        measure: the number of messages a task's queue holds now.
    """

    def __init__(self, mark: int, measure: Callable[[Task], int]) -> None:
        self._mark = mark
        self._measure = measure
        self._seen = {task: _Seen() for task in Task}

    def has_room_for_one(self, task: Task, unsent: int = 0) -> bool:
        """Whether a message may be added; it is counted. ``unsent``: those that the caller was told there is
        room for and has not added yet."""
        seen, now = self._seen[task], monotonic()
        is_full = seen.depth >= self._mark
        if now - seen.at > (FULL_FOR_S if is_full else LOOK_EVERY_S) or (not is_full and seen.left <= 0):
            seen = self.look(task, unsent)
        if seen.depth >= self._mark:
            return False
        seen.left -= 1
        return True

    def is_full(self, task: Task) -> bool:
        """Whether the queue was full when somebody looked last, a moment ago."""
        seen = self._seen[task]
        return seen.depth >= self._mark and monotonic() - seen.at < KNOWN_FOR_S

    def look(self, task: Task, unsent: int = 0) -> _Seen:
        """Measure."""
        depth = self._measure(task) + unsent
        seen = _Seen(depth, monotonic(), max(1, (self._mark - depth) // SHARE))
        self._seen[task] = seen
        return seen
