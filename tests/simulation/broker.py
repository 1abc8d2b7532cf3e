"""The virtual broker: a bag of messages that may be lost, doubled, delayed, reordered and come again late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from abstractruntime.storage.checkpoints import Task
from workers.hints import Announcement, Hint, Message

from .journal import Journal

__all__ = ["Broker", "Mail", "ProcessDispatcher"]

REMEMBERED = 30


@dataclass(frozen=True, slots=True)
class Mail:
    """One message in a queue; ``ready_at`` is its ETA on the virtual clock."""

    task: Task
    run_id: str
    version: int
    ready_at: float
    first: bool = False


class Broker:
    """Every process's broker."""

    def __init__(self, journal: Journal, clock: Callable[[], float], chance: Callable[[str], bool]) -> None:
        self.queue: list[Mail] = []
        self.delivered: deque[Mail] = deque(maxlen=REMEMBERED)
        self.away = False
        self._journal = journal
        self._clock = clock
        self._chance = chance

    def accept(self, message: Message) -> None:
        """A process publishes; what names something uncommitted breaks `DESIGN §3.5`."""
        committed = self._journal.version(message.run_id)
        if isinstance(message, Announcement):
            history = self._journal.runs.get(message.run_id)
            if history is None or not history.has_ended:
                self._journal.violate(
                    f"the end of run {message.run_id} was announced before it was committed"
                )
            return
        if message.version > committed:
            self._journal.violate(
                f"a message names version {message.version} of run {message.run_id}, committed is {committed}"
            )
        if self.away or self._chance("drop"):
            return
        self.put(_mail(message, self._clock()))
        if self._chance("double"):
            self.put(_mail(message, self._clock()))

    def put(self, mail: Mail) -> None:
        self.queue.append(mail)

    def take(self, index: int) -> Mail:
        mail = self.queue.pop(index)
        self.delivered.append(mail)
        return mail

    def ready(self) -> list[int]:
        """Positions of the messages whose time has come."""
        now = self._clock()
        return [index for index, mail in enumerate(self.queue) if mail.ready_at <= now]


def _mail(hint: Hint, now: float) -> Mail:
    return Mail(hint.task, hint.run_id, hint.version, now + hint.delay_s, hint.first)


class ProcessDispatcher:
    """The `Dispatcher` of one process; it may die between two messages.

    Attributes:
        crowded: whether a queue is full now.
    """

    def __init__(self, broker: Broker, point: Callable[[str], None]) -> None:
        self.crowded: Callable[[], bool] = lambda: False
        self._broker = broker
        self._point = point

    def send(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._point("broker.send")
            if isinstance(message, Hint) and message.takes_room and self.crowded():
                continue
            self._broker.accept(message)

    def is_full(self, task: Task, *, look: bool = False) -> bool:
        return self.crowded()
