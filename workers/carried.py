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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

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
        has_carried: a task ran inside the delivery of its message, so this is a ``solo`` worker.
    """

    def __init__(self) -> None:
        self.has_carried = False
        self.waiting: list[Command] = []
        self.under_way: list[Command] = []

    def __len__(self) -> int:
        return len(self.waiting) + len(self.under_way)

    def add(self, *command: str) -> None:
        """Send it with the next request."""
        self.waiting.append(command)
        self.has_carried = True

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


class Asking(Protocol):
    """Who asks over the connection."""

    def questions(self) -> list[Command]:
        """Commands to ask along with the request, besides what is carried."""
        ...

    def answered(self, command: Command, answer: object) -> None:
        """The answer to one of them, possibly a ResponseError."""
        ...


def carrying_connection(base: type[Any], asking: Asking) -> type[Any]:
    """A redis-py connection class whose ``BRPOP`` takes along what its thread carries and ``asking`` asks."""

    class Connection(base):  # type: ignore[misc]  # made at run time, as kombu's is
        carried: int = 0
        asked: Sequence[Command] = ()

        def send_command(self, *args: Any, **kwargs: Any) -> None:
            commands = _here.carried.take() if args[0] == "BRPOP" else []
            questions = asking.questions() if args[0] == "BRPOP" else []
            if not commands and not questions:
                super().send_command(*args, **kwargs)
                return
            self.send_packed_command(self.pack_commands([*commands, *questions, args]))
            self.carried, self.asked = len(commands), questions

        @property
        def is_answer_due(self) -> bool:
            return bool(self.carried or self.asked)

        def read_answers(self) -> None:
            """Read the answers to what went along, which come before the answer to the request."""
            while self.carried:
                answer = self._read_answer()
                if isinstance(answer, ResponseError):
                    _refused(answer)
                self.carried -= 1
                _here.carried.under_way.pop(0)
            asked, self.asked = self.asked, ()
            for question in asked:
                asking.answered(question, self._read_answer())

        def _read_answer(self) -> object:
            try:
                answer: object = self.read_response()
            except ResponseError as exc:
                return exc
            return answer

        def disconnect(self, *args: Any, **kwargs: Any) -> None:
            self.carried, self.asked = 0, ()
            super().disconnect(*args, **kwargs)

    return Connection


def _refused(error: ResponseError) -> None:
    metrics.count("hints_unsent")
    logger.warning("broker refused a hint, left to the sweep: %s", error)
