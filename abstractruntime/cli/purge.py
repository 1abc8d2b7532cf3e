"""``abstractruntime purge``."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from abstractruntime.core.errors import ConfigurationError, InvalidInputError
from abstractruntime.retention import PurgeReport, RetentionPolicy, parse_duration, purge
from abstractruntime.storage.run_trees import ENDED

from .door import complain
from .options import AppOption, DatabaseOption, JsonOption
from .output import print_json, print_pairs
from .runs import connect

__all__ = ["purge_command"]

_STATUSES = ",".join(status.value for status in ENDED)


def purge_command(
    older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="Remove ended runs last updated this long ago, like 30d or 12h."),
    ] = None,
    status: Annotated[
        str, typer.Option(metavar="LIST", help="Only runs of these statuses, with commas.")
    ] = _STATUSES,
    events: Annotated[str | None, typer.Option(metavar="AGE", help="Remove expired events that old.")] = None,
    commands: Annotated[
        str | None, typer.Option(metavar="AGE", help="Remove commands that old that have been read.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Remove about this many runs at most.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    as_json: JsonOption = False,
    store: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="A SQLite file or a folder of JSON files instead of a fleet's."),
    ] = None,
    app: AppOption = None,
    database_url: DatabaseOption = None,
) -> None:
    """Remove old runs with their ledgers, artifacts and snapshots. Running and waiting runs always stay, and
    with them the ended ones above and below them. If the App keeps artifacts elsewhere than in the fleet's
    database, name it."""
    if older_than is None and events is None and commands is None:
        raise InvalidInputError("Say what to remove: --older-than AGE, --events AGE or --commands AGE")
    explicit = database_url is not None and "DATABASE_URL" not in os.environ
    if store is not None and explicit:
        raise InvalidInputError("--store or --database-url, not both")
    age = _age("--older-than", older_than)
    policy = RetentionPolicy(
        {} if age is None else dict.fromkeys(_names(status), age),
        events=_age("--events", events),
        commands=_age("--commands", commands),
    )
    if store is not None and store.is_dir():
        report = _purge_folder(policy, store, dry_run, limit)
    elif store is not None:
        report = _purge_file(policy, store, dry_run, limit)
    else:
        with connect(app, database_url, None) as client:
            report = client.purge(policy, dry_run=dry_run, limit=limit)
    _tell(report, as_json)
    if report.errors:
        raise typer.Exit(1)


def _age(option: str, text: str | None) -> timedelta | None:
    if text is None:
        return None
    try:
        return parse_duration(text)
    except InvalidInputError as exc:
        raise InvalidInputError(f"{option}: {exc}") from None


def _names(statuses: str) -> list[str]:
    names = [name for name in (part.strip().lower() for part in statuses.split(",")) if name]
    if not names:
        raise InvalidInputError(f"--status names none of: {_STATUSES}")
    return names


def _purge_file(policy: RetentionPolicy, path: Path, dry_run: bool, limit: int | None) -> PurgeReport:
    from abstractruntime.retention.database import purge_database
    from abstractruntime.storage.sqlite import SqliteDatabase

    if not path.exists():
        raise ConfigurationError(f"--store: there is nothing at {path.absolute()}")
    with closing(SqliteDatabase(path)) as opened:
        return purge_database(policy, opened.database, dry_run=dry_run, limit=limit)


def _purge_folder(policy: RetentionPolicy, folder: Path, dry_run: bool, limit: int | None) -> PurgeReport:
    from abstractruntime.storage.artifacts import FileArtifactStore
    from abstractruntime.storage.json_files import JsonFileRunStore, JsonlLedgerStore
    from abstractruntime.storage.snapshots import JsonSnapshotStore

    # A folder of something else must not become one of ours by being looked at.
    if not any(folder.glob("run_*.json")) and not (folder / "artifacts" / "refs").is_dir():
        raise ConfigurationError(f"--store: there are no runs in {folder.absolute()}")
    return purge(
        policy,
        run_store=JsonFileRunStore(folder),
        ledger_store=JsonlLedgerStore(folder),
        artifact_store=FileArtifactStore(folder) if (folder / "artifacts").is_dir() else None,
        snapshot_store=JsonSnapshotStore(folder),
        dry_run=dry_run,
        limit=limit,
    )


def _tell(report: PurgeReport, as_json: bool) -> None:
    if as_json:
        print_json(report.to_dict())
        return
    typer.echo("would remove" if report.dry_run else "removed")
    size = f" ({report.artifact_bytes} bytes)" if report.artifacts else ""
    print_pairs(
        [
            ("  runs", str(report.runs)),
            ("  ledger records", str(report.records)),
            ("  artifacts", f"{report.artifacts}{size}"),
            ("  snapshots", str(report.snapshots)),
            ("  events", str(report.events)),
            ("  commands", str(report.commands)),
        ]
    )
    if report.kept_trees:
        typer.echo(f"kept {report.kept_trees} old run(s) with younger or unfinished ones below them")
    if report.more:
        typer.echo("the limit is reached: run it again for more")
    for error in report.errors:
        complain(error)
