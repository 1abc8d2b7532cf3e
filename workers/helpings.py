"""How many messages a worker takes at a time: one, unless its queue is long and its tasks are short.

While many messages wait, the exchange with Redis for each of them costs as much as a short tick itself; a few
at a time cost one exchange. When few wait, or tasks take long, what one worker has taken might have been
another's: then each is asked for by itself. Only for the ``solo`` pool, which carries out a task inside its
delivery.
"""

from __future__ import annotations

from time import monotonic

__all__ = ["Helpings"]

LONG = 16
"""Messages that must wait before one worker takes several."""
MOST = 4
"""Messages at a time."""
PATIENCE_S = 0.02
"""How long the last of several may have to wait for those before it."""


class Helpings:
    """What one consuming thread knows of its queue and of its tasks."""

    def __init__(self) -> None:
        self._depth = 0
        self._each_s = PATIENCE_S
        self._began = 0.0

    def more(self) -> int:
        """How many messages to ask for besides the one that is always asked for."""
        if self._depth < LONG:
            return 0
        return max(0, min(MOST, int(PATIENCE_S / max(self._each_s, 1e-6))) - 1)

    def see(self, depth: int) -> None:
        """The queue is that long."""
        self._depth = depth

    def begin(self) -> None:
        """A task begins."""
        self._began = monotonic()

    def end(self) -> None:
        """It has ended. One long task is believed at once, short ones little by little."""
        took = monotonic() - self._began
        self._each_s = max(took, 0.8 * self._each_s + 0.2 * took)
