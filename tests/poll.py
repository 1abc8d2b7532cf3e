"""Wait for a condition with a deadline. Tests never sleep a fixed time to synchronise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_INTERVAL = 0.02


def eventually(
    predicate: Callable[[], T], *, timeout: float = 10.0, message: str = "", interval: float = _INTERVAL
) -> T:
    """Call `predicate` until it returns something truthy, and return that.

    An AssertionError inside it means "not yet" and is shown if it stays; every other error passes through.
    timeout, interval: seconds. Fails with `message` and the last value seen.
    """
    deadline = time.monotonic() + timeout
    while True:
        value, failure = _attempt(predicate)
        if failure is None and value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(predicate, timeout, message, value)) from failure
        time.sleep(interval)


async def aeventually(
    predicate: Callable[[], Awaitable[T]],
    *,
    timeout: float = 10.0,
    message: str = "",
    interval: float = _INTERVAL,
) -> T:
    """The same for an async predicate, without blocking the event loop."""
    deadline = time.monotonic() + timeout
    while True:
        value, failure = None, None
        try:
            value = await predicate()
        except AssertionError as error:
            failure = error
        if failure is None and value:
            return value
        if time.monotonic() >= deadline:
            raise AssertionError(_complaint(predicate, timeout, message, value)) from failure
        await asyncio.sleep(interval)


def _attempt(predicate: Callable[[], T]) -> tuple[T | None, AssertionError | None]:
    try:
        return predicate(), None
    except AssertionError as error:
        return None, error


def _complaint(predicate: object, timeout: float, message: str, value: object) -> str:
    what = message or getattr(predicate, "__qualname__", repr(predicate))
    return f"Not within {timeout:g} s: {what} (last value: {value!r})"
