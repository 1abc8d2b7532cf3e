"""``abstractruntime dev``: a whole fleet in one terminal."""

from __future__ import annotations

import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from .door import complain
from .fleet_output import FleetOutput
from .options import AppOption

if TYPE_CHECKING:
    from types import FrameType

    from abstractruntime.app import App
    from workers.embedded import EmbeddedFleet

__all__ = ["dev"]

_LOOK_S = 0.2
_INTERRUPTED = 130  # as shells have it


def dev(
    app: AppOption = None,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Where its data lives. One fleet per directory.")
    ] = Path(".abstractruntime"),
    workers: Annotated[
        int | None,
        typer.Option("--workers", "-w", min=1, help="Tick workers; default: one per core, at most 4."),
    ] = None,
    effects: Annotated[int, typer.Option(min=1, help="Calls to the outside that may run at once.")] = 8,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Valkey's port on 127.0.0.1; default: a free one.")
    ] = None,
    database_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Another database than SQLite in --directory.")
    ] = None,
    redis_url: Annotated[
        str | None, typer.Option(metavar="URL", help="A Redis of your own instead of the Valkey.")
    ] = None,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show all that the processes say.")
    ] = False,
) -> None:
    """Run a whole fleet here: Valkey, SQLite, workers, beat and resumer. Ctrl-C stops it, runs go on later.

    All data is in --directory; start it there again, and every unfinished run goes on. DATABASE_URL and
    REDIS_URL of the environment are not used: they may be production's.
    """
    from abstractruntime.app import load_app
    from workers.embedded import EmbeddedFleet, StartBrokenOffError

    loaded = load_app(app)
    assert app is not None  # load_app has refused it
    output = FleetOutput(verbose=verbose)
    fleet = EmbeddedFleet(
        app,
        directory,
        tick_workers=workers,
        effect_threads=effects,
        port=port,
        database_url=database_url,
        redis_url=redis_url,
        on_line=output.line,
        verbose=verbose,
    )
    ending = Ending()
    output.say(f"starting App '{loaded.name}' ({app}) in {fleet.directory}")
    try:
        fleet.start(give_up=ending.asked)
    except StartBrokenOffError:
        output.say("stopped before it was at work")
        raise typer.Exit(_INTERRUPTED) from None
    try:
        _introduce(fleet, loaded, output)
        while not ending.asked.wait(_LOOK_S) and not fleet.broken.is_set():
            pass
        failure = fleet.failure
    finally:
        output.say("stopping; unfinished runs go on at the next start (Ctrl-C again: at once)")
        fleet.stop()
    if failure is not None:
        complain(failure)
        raise typer.Exit(1)
    output.say("stopped")


class Ending:
    """What Ctrl-C, TERM and a hang-up do: ask for the end, also of a start under way; then end at once.

    The last leaves nothing behind: children follow their supervisor, and what they did is in the database.
    """

    def __init__(self) -> None:
        self.asked = Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.asked.is_set():
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        self.asked.set()


def _introduce(fleet: EmbeddedFleet, app: App, output: FleetOutput) -> None:
    from workers.opening import open_store

    counts = open_store(fleet.settings).status_counts()
    unfinished = counts.get("running", 0) + counts.get("waiting", 0)
    output.say(f"database {fleet.settings.database_url}")
    output.say(f"broker   {fleet.settings.redis_url}")
    output.say("at work  " + ", ".join(f"{info.name} ({info.pid})" for info in fleet.processes))
    if unfinished:
        output.say(f"{unfinished} unfinished run(s) go on")
    workflow = next(iter(app.workflow_ids()), "WORKFLOW")
    output.say(f"ready. In another terminal, in this folder: abstractruntime runs start {workflow} --wait")
