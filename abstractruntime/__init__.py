"""Durable workflows as graphs of plain functions.

Public names are imported on first use (PEP 562), so that ``import abstractruntime`` stays light: it pulls in
neither SQLAlchemy nor Celery nor any integration.
"""

from __future__ import annotations

from importlib import import_module

from .core.extensions import provide as _provide

_HOMES: dict[str, tuple[str, ...]] = {
    "core.models": ("Effect", "EffectType", "RunState", "RunStatus", "StepPlan", "WaitReason", "WaitState"),
    "core.spec": ("WorkflowSpec",),
    "core.runtime": ("Runtime",),
    "core.policy": (
        "DefaultEffectPolicy",
        "EffectPolicy",
        "NoRetryPolicy",
        "RetryPolicy",
        "compute_idempotency_key",
    ),
    "history_bundle": (
        "RUN_HISTORY_BUNDLE_VERSION_V1",
        "export_run_history_bundle",
        "persist_workflow_snapshot",
    ),
    "identity": ("ActorFingerprint",),
    "storage.artifacts": (
        "Artifact",
        "ArtifactMetadata",
        "ArtifactStore",
        "FileArtifactStore",
        "InMemoryArtifactStore",
        "artifact_ref",
        "compute_artifact_id",
        "get_artifact_id",
        "is_artifact_ref",
        "resolve_artifact",
    ),
    "memory": ("ActiveContextPolicy", "TimeRange"),
    "scheduler.convenience": ("ScheduledRuntime", "create_scheduled_runtime"),
    "scheduler.registry": ("WorkflowRegistry",),
    "scheduler.scheduler": ("Scheduler", "SchedulerStats"),
    "storage.base": ("QueryableRunStore",),
    "storage.commands": (
        "CommandAppendResult",
        "CommandCursorStore",
        "CommandRecord",
        "CommandStore",
        "InMemoryCommandCursorStore",
        "InMemoryCommandStore",
        "JsonFileCommandCursorStore",
        "JsonlCommandStore",
    ),
    "storage.in_memory": ("InMemoryLedgerStore", "InMemoryRunStore"),
    "storage.ledger_chain": ("HashChainedLedgerStore", "verify_ledger_chain"),
    "storage.observable": ("ObservableLedgerStore", "ObservableLedgerStoreProtocol"),
    "storage.json_files": ("JsonFileRunStore", "JsonlLedgerStore"),
    "storage.offloading": ("OffloadingLedgerStore", "OffloadingRunStore", "offload_large_values"),
    "storage.snapshots": ("InMemorySnapshotStore", "JsonSnapshotStore", "Snapshot", "SnapshotStore"),
    "storage.sqlite": (
        "SqliteCommandCursorStore",
        "SqliteCommandStore",
        "SqliteDatabase",
        "SqliteLedgerStore",
        "SqliteRunStore",
    ),
}
# Ours, beyond the published names: reachable here, not part of ``__all__``.
_ALSO: dict[str, tuple[str, ...]] = {
    "app": ("App", "Cron", "Every"),
    "limits": ("Limit", "Rate"),
}
_SUBPACKAGES = ("core", "history_bundle", "identity", "memory", "scheduler", "storage")
_HOME_OF = {name: home for home, names in {**_HOMES, **_ALSO}.items() for name in names}

# What the kernel may ask of other rooms without knowing them; imported when it first does.
_provide("offload_large_values", f"{__name__}.storage.offload_values:offload_large_values")
_provide("resolve_offloaded", f"{__name__}.storage.offload_values:resolve_offloaded")
_provide("evidence_recorder", f"{__name__}.evidence.recorder:EvidenceRecorder")
_provide("llm_grounding", f"{__name__}.integrations.abstractcore._llm_grounding:ground_llm_payload")
_provide("max_inline_bytes", f"{__name__}.storage.offload_values:max_inline_from_environment")

__version__ = "0.5.0"
__all__ = sorted(name for names in _HOMES.values() for name in names)  # computed from one table


def __getattr__(name: str) -> object:
    if name in _HOME_OF:
        value: object = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _SUBPACKAGES:
        value = import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBPACKAGES})
