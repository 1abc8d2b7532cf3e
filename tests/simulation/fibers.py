"""Processes of the simulation: greenlets, so that any of them may stop anywhere while others go on.

A fiber runs until it pauses; the scheduler decides who goes on. A fiber that is killed unwinds with
`Crash`, which is no `Exception`: nothing in the code under test catches it, as nothing catches SIGKILL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from greenlet import getcurrent, greenlet

__all__ = ["Crash", "Fiber", "Fibers", "HiddenWhilePaused"]


class Crash(BaseException):
    """The process is gone."""


class HiddenWhilePaused(Protocol):
    """An open transaction: nobody else sees what it wrote."""

    def hide(self) -> None: ...

    def show(self) -> None: ...


class Fiber(greenlet):
    """One task or one client call in one process.

    Attributes:
        label: for the trace.
        blocked_on: the database lock it waits for.
        unit: its open transaction.
        frozen: stopped (SIGSTOP) until somebody thaws it.
        is_client: a client's call, not a task of a worker.
        dead_now: killed; it must not do anything any more.
        crashed: it ended by `Crash`.
        error: what else it ended by.
    """

    def __init__(self, label: str, body: Callable[[], object], main: greenlet) -> None:
        super().__init__(parent=main)
        self.label = label
        self.blocked_on: str | None = None
        self.unit: HiddenWhilePaused | None = None
        self.frozen = False
        self.is_client = False
        self.dead_now = False
        self.crashed = False
        self.error: Exception | None = None
        self._body = body

    def run(self) -> None:
        try:
            self._body()
        except Crash:
            self.crashed = True
        except Exception as error:
            self.error = error


class Fibers:
    """All fibers of a world; the caller's greenlet is the scheduler."""

    def __init__(self, on_end: Callable[[Fiber], None]) -> None:
        self._main = getcurrent()
        self._on_end = on_end
        self.alive: list[Fiber] = []

    @staticmethod
    def current() -> Fiber | None:
        """The fiber that runs now; ``None`` in the scheduler."""
        running = getcurrent()
        return running if isinstance(running, Fiber) else None

    def spawn(self, label: str, body: Callable[[], object], prepare: Callable[[Fiber], None]) -> Fiber:
        """A new fiber, run up to its first pause."""
        fiber = Fiber(label, body, self._main)
        prepare(fiber)
        self.alive.append(fiber)
        self.go_on(fiber)
        return fiber

    def go_on(self, fiber: Fiber) -> None:
        """Let a paused fiber run to its next pause or its end. Only the scheduler calls this."""
        fiber.switch()
        self._reap(fiber)

    def kill(self, fiber: Fiber) -> None:
        """SIGKILL."""
        fiber.dead_now = True
        fiber.throw(Crash)
        self._reap(fiber)

    def _reap(self, fiber: Fiber) -> None:
        if fiber.dead:
            self.alive.remove(fiber)
            self._on_end(fiber)

    def pause(self, fiber: Fiber) -> None:
        """Called by the running fiber: let the scheduler choose who goes on."""
        unit = fiber.unit
        if unit is not None:
            unit.hide()
        self._main.switch()
        if unit is not None:
            unit.show()
