"""A run and everything it left, as one JSON-like object that any client can replay (`spec/01 §16`)."""

from __future__ import annotations

from .errors import HistoryBundleError, HistoryRunNotFoundError
from .export import RUN_HISTORY_BUNDLE_VERSION_V1, export_run_history_bundle
from .snapshot import persist_workflow_snapshot

__all__ = [
    "RUN_HISTORY_BUNDLE_VERSION_V1",
    "HistoryBundleError",
    "HistoryRunNotFoundError",
    "export_run_history_bundle",
    "persist_workflow_snapshot",
]
