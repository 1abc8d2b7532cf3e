"""Leaving a call whose result nobody wants any more."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import copy_context
from threading import Event, Thread
from typing import Generic, TypeVar

__all__ = ["CallAbandonedError", "call_while_wanted"]

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOOK_EVERY_S = 0.2


class CallAbandonedError(Exception):
    """The run was cancelled, or its effect taken over, while the call was under way."""


class _Call(Generic[T]):
    def __init__(self, work: Callable[[], T], name: str) -> None:
        self._work = work
        self._name = name
        self.ended = Event()
        self.abandoned = Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._result.append(self._work())
        except BaseException as exc:
            self._error = exc  # raised where the result is asked for
        finally:
            self.ended.set()
        if self.abandoned.is_set():
            how = "answered" if self._error is None else f"failed: {self._error}"
            logger.warning("%s, which was abandoned, has %s; that is dropped", self._name, how)

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


def call_while_wanted(work: Callable[[], T], unwanted: Callable[[], bool], *, name: str) -> T:
    """``work()`` in a thread of its own, for as long as its result is wanted.

    A thread can't be stopped from outside: an abandoned call goes on until the other side answers, and its
    answer is dropped. What this gives back at once is the worker, and the slot of its limits.

    Raises:
        CallAbandonedError: ``unwanted()`` was true before the call ended.
        BaseException: whatever ``work`` raised.
    """
    call = _Call(work, name)
    Thread(target=copy_context().run, args=(call.run,), name=name, daemon=True).start()
    while not call.ended.wait(_LOOK_EVERY_S):
        if unwanted():
            call.abandoned.set()
            raise CallAbandonedError(f"{name}: nobody wants the result any more; it is dropped")
    return call.result()
