"""What the code under test takes from its surroundings, replaced for the time of one seed.

Time, ids and fault points are module globals of the code under test; heartbeats are threads, which the
simulation beats itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

from abstractruntime.core import faults
from abstractruntime.core.environment import Environment
from abstractruntime.storage.checkpoints import Checkpoint, CheckpointStore
from workers import effects
from workers.heartbeat import Heartbeat

from .fibers import Fiber, Fibers

__all__ = ["Pulse", "simulated_ports"]


class Pulse(Heartbeat):
    """A heartbeat that the scheduler beats instead of a thread; it dies with its fiber."""

    def __init__(
        self, store: CheckpointStore, held: Checkpoint, lease_s: float, *, has_slot: bool = False
    ) -> None:
        super().__init__(store, held, lease_s, has_slot=has_slot)
        self.run_id = held.run.run_id
        self.fiber: Fiber | None = Fibers.current()

    def beat(self) -> None:
        """One beat, as the thread does it."""
        if not self._extend():
            self._unwanted.set()


@contextmanager
def simulated_ports(
    *,
    clock: Callable[[], float],
    new_id: Callable[[], str],
    point: Callable[[str], None],
    nap: Callable[[float], None],
    pulses: list[Pulse],
) -> Iterator[None]:
    """Virtual time, numbered ids, fault points that may kill, pulses instead of heartbeat threads."""

    class RegisteredPulse(Pulse):
        @contextmanager
        def beating(self, *, quick: bool) -> Iterator[None]:
            if quick:
                yield
                return
            pulses.append(self)
            try:
                yield
            finally:
                pulses.remove(self)

    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # thousands of simulated failures are no news
    try:
        with ExitStack() as stack:
            for module in ("clock", "held_steps", "effects"):
                stack.enter_context(patch(f"workers.{module}.monotonic", clock))
            stack.enter_context(patch("workers.effects.sleep", nap))
            # A client that lost a race sleeps a little: others go on meanwhile.
            stack.enter_context(patch("workers.control.time", SimpleNamespace(sleep=nap)))
            stack.enter_context(patch("workers.control.random", SimpleNamespace(uniform=min)))
            stack.enter_context(patch("workers.clock.Environment", partial(Environment, new_id=new_id)))
            stack.enter_context(patch.object(faults, "hit", point))
            stack.enter_context(patch.object(effects, "Heartbeat", RegisteredPulse))
            yield
    finally:
        logging.disable(disabled)
