"""A purge of everything that one database holds."""

from __future__ import annotations

from datetime import datetime

from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.command_store import SqlCommandStore
from abstractruntime.storage.sql.engine import Database
from abstractruntime.storage.sql.ledger_store import SqlLedgerStore
from abstractruntime.storage.sql.run_store import SqlRunStore
from abstractruntime.storage.sql.snapshot_store import SqlSnapshotStore
from abstractruntime.storage.sql.store import SqlCheckpointStore

from .policy import RetentionPolicy
from .purge import purge
from .report import PurgeReport

__all__ = ["purge_database"]


def purge_database(
    policy: RetentionPolicy,
    database: Database,
    *,
    artifact_store: ArtifactStore | None = None,
    dry_run: bool = False,
    limit: int | None = None,
    now: datetime | None = None,
) -> PurgeReport:
    """`purge` of the runs, ledgers, artifacts, snapshots, commands and events in a migrated database, beside
    whoever works with it.

    Args:
        artifact_store: where the runs' artifacts are, if not in the database.
    """
    return purge(
        policy,
        run_store=SqlRunStore(database),
        ledger_store=SqlLedgerStore(database),
        artifact_store=artifact_store or SqlArtifactStore(database),
        snapshot_store=SqlSnapshotStore(database),
        command_store=SqlCommandStore(database),
        inbox=SqlCheckpointStore(database),
        dry_run=dry_run,
        limit=limit,
        now=now,
    )
