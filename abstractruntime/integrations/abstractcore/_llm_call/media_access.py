"""Which files and artifacts a run may send to a provider (`spec/04 §16.14`, §16.15)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from abstractruntime.core.models import RunState
from abstractruntime.storage.artifact_base import ArtifactMetadata

from .errors import PolicyError

__all__ = ["MayUseArtifact", "SameRunOrSession", "allowed_path"]

MayUseArtifact = Callable[[RunState, ArtifactMetadata], bool]
"""``(run, metadata)``: whether the run may show this artifact to a model."""

_MAX_ANCESTORS = 100


class SameRunOrSession:
    """The default: artifacts of the run itself, of its session, of a run of its session or run tree, and
    those that belong to no run.

    Args:
        run_store: where owners are looked up; without it only the run, its parent and its session are known.
    """

    def __init__(self, run_store: Any = None) -> None:
        self._runs = run_store

    def __call__(self, run: RunState, metadata: ArtifactMetadata) -> bool:
        owner, session = metadata.run_id, run.session_id or None
        if not owner or owner in (run.run_id, run.parent_run_id):
            return True
        if session is not None and (
            owner == _session_owner(session) or (metadata.tags or {}).get("session_id") == session
        ):
            return True
        other = self._find(owner)
        if other is None:
            return False
        same_session = session is not None and other.session_id == session
        return same_session or self._root(other) == self._root(run)

    def _find(self, run_id: str) -> RunState | None:
        found: RunState | None = None if self._runs is None else self._runs.load(run_id)
        return found

    def _root(self, run: RunState) -> str:
        for _ in range(_MAX_ANCESTORS):
            parent = self._find(run.parent_run_id) if run.parent_run_id else None
            if parent is None:
                break
            run = parent
        return run.parent_run_id or run.run_id


def _session_owner(session_id: str) -> str | None:
    from ..session_attachments import session_memory_owner_run_id

    return session_memory_owner_run_id(session_id) if session_id.strip() else None


def allowed_path(run: RunState, path: str) -> str:
    """The path of a local file to send: as given, and resolved inside the workspace where the run has one.

    Raises:
        PolicyError: the run's workspace policy forbids it (`spec/04 §10`).
    """
    from ..workspace_scoped_tools import WorkspaceScope, resolve_user_path

    try:
        scope = WorkspaceScope.from_input_data(run.vars)
        return path if scope is None else str(resolve_user_path(scope=scope, user_path=path))
    except ValueError as exc:
        raise PolicyError(str(exc)) from exc
