"""The command: options, a folder, the verdict as exit code."""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import tempfile
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["chaos"]

_RUNS_PER_MINUTE = 500


class DatabaseKind(str, Enum):
    """Where the runs live."""

    POSTGRESQL = "postgresql"
    SQLITE = "sqlite"


def chaos(
    seed: Annotated[
        int | None,
        typer.Option(min=0, help="Replays its workload and schedule of faults; default: a new one."),
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.05, help="How long the chaos lasts.")] = 3.0,
    runs: Annotated[
        int | None, typer.Option(min=1, help="Runs started from outside; default: 500 a minute.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            metavar="KINDS", help="all, none, or a list of kinds or their beginnings: kill,broker-away."
        ),
    ] = "all",
    database: Annotated[DatabaseKind, typer.Option(help="Where the runs live.")] = DatabaseKind.POSTGRESQL,
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="A PostgreSQL of yours to make a database on; default: from the wheel."
        ),
    ] = None,
    redis_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="An EMPTY logical database of a Redis of yours; it will be flushed."
        ),
    ] = None,
    patience: Annotated[float, typer.Option(min=1, help="Seconds to come to rest after the chaos.")] = 120.0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report there, too.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="New folder for plan, logs and report; default: a temporary one, kept if it fails."
        ),
    ] = None,
) -> None:
    """Break a real fleet in every way at random for some minutes, then check every invariant.

    Starts its own Valkey, PostgreSQL, workers, beat and resumers, and an HTTP service that counts all calls.
    Processes are killed and frozen, servers flushed, cut, restarted and away. Exit code 0 means that no
    run, no step and no event was lost or doubled; else the ledgers of the runs concerned are in the folder.
    """
    from abstractruntime.core.errors import ConfigurationError

    from .story import Options, play

    if database is DatabaseKind.SQLITE and database_url is not None:
        raise ConfigurationError("--database-url names a PostgreSQL; it can't be had with --database sqlite")
    signal.signal(signal.SIGTERM, _interrupt)
    options = Options(
        seed=secrets.randbelow(1_000_000) if seed is None else seed,
        runs=max(1, round(minutes * _RUNS_PER_MINUTE)) if runs is None else runs,
        seconds=minutes * 60.0,
        faults=faults,
        database=database.value,
        database_url=database_url,
        redis_url=redis_url,
        patience_s=patience,
    )
    folder = _folder(keep)
    try:
        report = play(options, folder, say=typer.echo)
    except Exception:
        typer.echo(f"plan and logs so far: {folder}")
        raise
    for line in report.lines():
        typer.echo(line)
    if json_file is not None:
        json_file.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    if report.held and keep is None:
        shutil.rmtree(folder)
    else:
        typer.echo(f"plan, logs, report{'' if report.held else ', ledgers of the runs concerned'}: {folder}")
    if not report.held:
        again = f"abstractruntime chaos --seed {options.seed} --minutes {minutes:g} --runs {options.runs}"
        typer.echo(f"the same again: {again} --database {options.database} --faults {faults}")
        raise typer.Exit(1)


def _folder(keep: Path | None) -> Path:
    if keep is None:
        return Path(tempfile.mkdtemp(prefix="abstractruntime-chaos-")).resolve()
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
