"""What the demo shows while it runs: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

__all__ = ["LiveView", "PlainView", "Progress", "View", "make_view"]


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of the demo at a moment.

    Attributes:
        claims, claims_ended, receipts, receipts_ended: how many there will be; how many have ended.
        by_status: number of all runs by status.
        by_wait: number of waiting runs by what they wait for.
        commits: of all runs so far.
        commits_per_s: lately.
        elapsed_s: since the first claim was started.
    """

    claims: int
    claims_ended: int
    receipts: int
    receipts_ended: int
    by_status: Mapping[str, int]
    by_wait: Mapping[str, int]
    commits: int
    commits_per_s: float
    elapsed_s: float

    def counts(self) -> str:
        """Numbers by state, as text."""
        waits = ", ".join(f"{count} for {reason}" for reason, count in self.by_wait.items() if count)
        parts = [f"{count} {status}" for status, count in self.by_status.items()]
        return ", ".join(parts) + (f"  (waiting: {waits})" if waits else "")

    def speed(self) -> str:
        """Work done, as text."""
        return f"{self.commits} steps committed, {self.commits_per_s:.0f}/s, {self.elapsed_s:.1f} s"


class View(Protocol):
    """Where the demo tells its story."""

    def say(self, text: str, *, style: str = "") -> None:
        """A line that stays."""
        ...

    def show(self, progress: Progress) -> None:
        """The latest state."""
        ...

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class PlainView:
    """Lines, for pipes and logs; the state every few seconds."""

    every_s = 2.0

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown = 0.0

    def say(self, text: str, *, style: str = "") -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, progress: Progress) -> None:
        if time.monotonic() - self._shown < self.every_s:
            return
        self._shown = time.monotonic()
        self.say(
            f"  {progress.claims_ended}/{progress.claims} claims, "
            f"{progress.receipts_ended}/{progress.receipts} receipts; {progress.counts()}; {progress.speed()}"
        )

    def __enter__(self) -> PlainView:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing is left on the screen."""


class LiveView:
    """Bars and counts that move, below the lines that stay."""

    def __init__(self, console: Console) -> None:
        self._live = Live(Text(""), console=console, refresh_per_second=8, transient=False)

    def say(self, text: str, *, style: str = "") -> None:
        self._live.console.print(Text(text, style=style))

    def show(self, progress: Progress) -> None:
        self._live.update(_picture(progress))

    def __enter__(self) -> LiveView:
        self._live.start(refresh=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()


def _picture(progress: Progress) -> RenderableType:
    bars = Table.grid(padding=(0, 1))
    for name, ended, total in (
        ("claims", progress.claims_ended, progress.claims),
        ("receipts", progress.receipts_ended, progress.receipts),
    ):
        bars.add_row(name, ProgressBar(total=max(1, total), completed=ended, width=40), f"{ended}/{total}")
    return Group(bars, Text(progress.counts(), style="dim"), Text(progress.speed(), style="bold"))


def make_view() -> View:
    """The view that fits where stdout goes."""
    console = Console()
    return LiveView(console) if console.is_terminal else PlainView(console)
