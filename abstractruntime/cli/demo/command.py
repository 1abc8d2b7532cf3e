"""The command: sets the scene, and says at the end whether all held."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["demo"]


def demo(
    claims: Annotated[int, typer.Option(min=1, help="Expense claims to work through.")] = 300,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder for the data and a copy of the example; default: a temporary one."),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds after which a claim counts as stuck.")
    ] = 180.0,
) -> None:
    """Work through 300 expense claims on a real fleet, kill a worker half way, and check every ledger.

    Needs nothing but this installation: Valkey comes from a wheel, the database is SQLite. Exit code 0 means
    that no step was lost or doubled.
    """
    from .story import play

    signal.signal(signal.SIGTERM, _interrupt)
    with _folder(keep) as folder:
        held = play(folder, claims=claims, timeout_s=timeout, kept=keep is not None)
    if not held:
        raise typer.Exit(1)


@contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="abstractruntime-demo-") as temporary:
        yield Path(temporary).resolve()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
