"""What the embedded fleet's processes say, with a prefix that says who."""

from __future__ import annotations

import sys
from threading import Lock

import typer

__all__ = ["FleetOutput"]

_WIDTH = 9
_COLOURS = {
    "fleet": typer.colors.CYAN,
    "effects": typer.colors.MAGENTA,
    "beat": typer.colors.BLUE,
    "resumer": typer.colors.YELLOW,
}
# What Celery prints past its log level when it is asked to end.
_NOISE = ("worker: Warm shutdown", "worker: Cold shutdown", "worker: Hitting Ctrl+C")


class FleetOutput:
    """Prints lines of several processes; safe for threads."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._lock = Lock()

    def say(self, text: str) -> None:
        """A line of the supervisor."""
        self.line("fleet", text)

    def line(self, name: str, text: str) -> None:
        """A line of a process."""
        if not self._verbose and text.startswith(_NOISE):
            return
        prefix = typer.style(f"{name:<{_WIDTH}}|", fg=_COLOURS.get(name, typer.colors.GREEN))
        with self._lock:
            typer.echo(f"{prefix} {text}")
            sys.stdout.flush()
