"""Where runs, ledgers and the fleet's checkpoints live.

Names are imported on first use: the in-memory stores need neither SQLAlchemy nor SQLite.
"""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, tuple[str, ...]] = {
    "artifacts": (
        "Artifact",
        "ArtifactMetadata",
        "ArtifactStore",
        "CorruptArtifactError",
        "FileArtifactStore",
        "InMemoryArtifactStore",
        "artifact_ref",
        "compute_artifact_id",
        "get_artifact_id",
        "is_artifact_ref",
        "resolve_artifact",
    ),
    "base": ("LedgerStore", "QueryableRunIndexStore", "QueryableRunStore", "RunStore"),
    "commands": (
        "CommandAppendResult",
        "CommandCursorStore",
        "CommandRecord",
        "CommandStore",
        "InMemoryCommandCursorStore",
        "InMemoryCommandStore",
        "JsonFileCommandCursorStore",
        "JsonlCommandStore",
    ),
    "in_memory": ("InMemoryLedgerStore", "InMemoryRunStore"),
    "in_memory_checkpoints": ("InMemoryCheckpointStore",),
    "ledger_chain": ("HashChainedLedgerStore", "verify_ledger_chain"),
    "object_artifacts": ("ObjectArtifactStore",),
    "observable": ("ObservableLedgerStore", "ObservableLedgerStoreProtocol"),
    "json_files": ("JsonFileRunStore", "JsonlLedgerStore"),
    "offloading": ("OffloadingLedgerStore", "OffloadingRunStore", "offload_large_values"),
    "snapshots": (
        "CorruptSnapshotError",
        "InMemorySnapshotStore",
        "JsonSnapshotStore",
        "Snapshot",
        "SnapshotStore",
    ),
    "sql": (
        "Database",
        "SqlArtifactStore",
        "SqlCheckpointStore",
        "SqlCommandCursorStore",
        "SqlCommandStore",
        "SqlLedgerStore",
        "SqlRunStore",
        "SqlSnapshotStore",
        "open_database",
    ),
    "sqlite": (
        "SqliteArtifactStore",
        "SqliteCommandCursorStore",
        "SqliteCommandStore",
        "SqliteDatabase",
        "SqliteLedgerStore",
        "SqliteRunStore",
        "SqliteSnapshotStore",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME_OF)  # computed from one table


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
