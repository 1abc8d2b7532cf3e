"""One tool call with a time limit (`spec/04 §7.1`, §16.11).

A thread can't be stopped from outside: a call that is over its time goes on in a daemon thread and may still
have effects. How many such threads there may be is bounded, so that a tool that hangs each time it is called
fails soon instead of filling the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

__all__ = ["MAX_RUNAWAYS", "TimedOutError", "TooManyRunawaysError", "call_within", "runaways"]

MAX_RUNAWAYS = 16
"""Timed-out calls that may still run in this process; beyond that no call with a time limit begins."""

_lock = threading.Lock()
_running: set[threading.Thread] = set()


class TimedOutError(Exception):
    """The call is over its time and still runs."""


class TooManyRunawaysError(Exception):
    """Too many calls that are over their time still run in this process."""


def runaways() -> int:
    """How many timed-out calls still run in this process."""
    with _lock:
        return len(_running)


def call_within(timeout_s: float | None, call: Callable[[], Any]) -> Any:
    """``call()``, waited for at most ``timeout_s`` seconds; without a limit it runs in this thread.

    Raises:
        TimedOutError: the time is over.
        TooManyRunawaysError: the call has not begun.
        Exception: whatever ``call`` raises.
    """
    if timeout_s is None:
        return call()
    if runaways() >= MAX_RUNAWAYS:
        raise TooManyRunawaysError(
            f"Tool not started: {MAX_RUNAWAYS} timed-out tool calls still run in this process. "
            "Find out why they hang, or run such tools in processes of their own (isolated=...)."
        )
    return _Call(call).outcome(timeout_s)


class _Call:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._is_done = False
        context = copy_context()  # current_effect() and a host's own variables are known to the tool
        self._thread = threading.Thread(target=context.run, args=(self._run,), daemon=True, name="tool-call")

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as exc:  # SystemExit of a tool too: it belongs to its caller, not to a thread
            self._error = exc
        with _lock:
            self._is_done = True
            _running.discard(self._thread)

    def outcome(self, timeout_s: float) -> Any:
        self._thread.start()
        self._thread.join(timeout_s)
        with _lock:
            if not self._is_done:
                _running.add(self._thread)
                raise TimedOutError
        if self._error is not None:
            raise self._error
        return self._value
