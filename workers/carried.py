"""Commands that travel with a worker's next look at its queue.

A ``solo`` worker carries out a task inside the delivery of its message, and asks for the next message right
afterwards. What the task publishes about its own run waits for that request and leaves in the same packet, so
a tick costs one exchange with Redis instead of two, and its worker waits for none of them.

Nothing rests on it: what is carried is a hint. If the connection is lost the commands go with the first
request over the next one, and twice is no harm; if the process dies the sweep finds the run (`DESIGN §1.1`).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import Redis
from redis.exceptions import ResponseError

from . import metrics

__all__ = ["Carried", "carried_by_this_thread", "carrying_connection", "delivering"]

logger = logging.getLogger(__name__)

MOST = 32
"""Commands that may wait for a request; more than a tick ever has."""

Command = tuple[str, ...]


class Carried:
    """What one consuming thread has to send. Not for other threads.

    Attributes:
        waiting: commands for the next request.
        under_way: those that are sent and not answered yet.
    """

    def __init__(self) -> None:
        self.waiting: list[Command] = []
        self.under_way: list[Command] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self.under_way)

    def add(self, *command: str) -> None:
        """Send it with the next request."""
        self.waiting.append(command)

    def has_room_for(self, number: int) -> bool:
        """Whether so many more may wait."""
        return len(self.waiting) + number <= MOST

    def take(self) -> list[Command]:
        """What goes with a request that is sent now; what an earlier connection took with it, too."""
        self.under_way, self.waiting = self.under_way + self.waiting, []
        return self.under_way

    def flush(self, client: Redis) -> None:
        """Send everything now, without a request."""
        pipe = client.pipeline(transaction=False)
        for command in self.take():
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        answers = pipe.execute(raise_on_error=False)
        self.under_way = []
        for answer in answers:
            if isinstance(answer, ResponseError):
                _refused(answer)


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.carried = Carried()
        self.is_delivering = False


_here = _OfThread()


def carried_by_this_thread(*, also_idle: bool = False) -> Carried | None:
    """Where a task may leave its commands, if it runs inside the delivery of its message."""
    return _here.carried if also_idle or _here.is_delivering else None


@contextmanager
def delivering() -> Iterator[Carried]:
    """Around the delivery of a message after which this thread asks for the next one."""
    _here.is_delivering = True
    try:
        yield _here.carried
    finally:
        _here.is_delivering = False


def carrying_connection(base: type[Any]) -> type[Any]:
    """A redis-py connection class whose ``BRPOP`` takes along what its thread carries."""

    class Connection(base):  # type: ignore[misc]  # made at run time, as kombu's is
        unanswered: int = 0

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            commands = _here.carried.take() if args[0] == "BRPOP" else []
            if not commands:
                super().send_command(*args, **kwargs)
                return
            self.send_packed_command(self.pack_commands([*commands, args]))
            self.unanswered = len(commands)

        def read_answers(self) -> None:
            """Read what was answered to the commands, which comes before the answer to the request."""
            while self.unanswered:
                try:
                    self.read_response()
                except ResponseError as exc:
                    _refused(exc)
                self.unanswered -= 1
                _here.carried.under_way.pop(0)

        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            self.unanswered = 0
            super().disconnect(*args, **kwargs)

    return Connection


def _refused(error: ResponseError) -> None:
    metrics.count("hints_unsent")
    logger.warning("broker refused a hint, left to the sweep: %s", error)
