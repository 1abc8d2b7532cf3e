"""Where a deployment's artifacts live: what its App says, else the fleet's own database."""

from __future__ import annotations

from threading import Lock

from abstractruntime.app import App
from abstractruntime.core.errors import AppError
from abstractruntime.storage.artifact_base import ArtifactStore
from abstractruntime.storage.artifact_memory import InMemoryArtifactStore
from abstractruntime.storage.checkpoints import CheckpointStore
from abstractruntime.storage.sql.artifact_store import SqlArtifactStore
from abstractruntime.storage.sql.store import SqlCheckpointStore

__all__ = ["Artifacts"]


class Artifacts:
    """One process's way to the artifacts, opened at first use: after a fork, and only if somebody asks.

    Args:
        app: whose artifacts; ``None`` for a door without an App.
        store: the fleet's runs.
    """

    def __init__(self, app: App | None, store: CheckpointStore) -> None:
        self.app = app
        self._store = store
        self._lock = Lock()
        self._opened: ArtifactStore | None = None

    def open(self) -> ArtifactStore:
        """The store, the same one each time.

        Raises:
            AppError: what the App declares is no artifact store.
        """
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    def _open(self) -> ArtifactStore:
        declared = None if self.app is None else self.app.artifacts
        if declared is None:
            return _beside(self._store)
        opened = declared if isinstance(declared, ArtifactStore) else declared()
        if not isinstance(opened, ArtifactStore):
            raise AppError(
                f"artifacts of the App must be an ArtifactStore or a function that returns one, not "
                f"{type(opened).__name__}; e.g. App(artifacts=lambda: ObjectArtifactStore.from_url(...))"
            )
        return opened


def _beside(store: CheckpointStore) -> ArtifactStore:
    if isinstance(store, SqlCheckpointStore):
        return SqlArtifactStore(store.database)
    return InMemoryArtifactStore()  # runs in memory: nothing outlives the process
