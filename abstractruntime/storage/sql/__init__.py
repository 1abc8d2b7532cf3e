"""Runs in SQLite and PostgreSQL. Names are imported on first use, because SQLAlchemy is heavy."""

from __future__ import annotations

from importlib import import_module

_HOMES: dict[str, tuple[str, ...]] = {
    "artifact_store": ("SqlArtifactStore",),
    "command_store": ("SqlCommandCursorStore", "SqlCommandStore"),
    "engine": ("Database", "open_database"),
    "ledger_store": ("SqlLedgerStore",),
    "run_store": ("SqlRunStore",),
    "snapshot_store": ("SqlSnapshotStore",),
    "store": ("SqlCheckpointStore",),
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
