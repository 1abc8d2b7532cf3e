"""Which artifacts belong to which run, without reading every metadata file for every question."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

from .artifact_base import ArtifactMetadata, CorruptArtifactError
from .artifact_meta import read_metadata

__all__ = ["ArtifactIndex"]

logger = logging.getLogger(__name__)

_SUFFIX = ".meta"
_Signature = tuple[int, int, int]


class ArtifactIndex:
    """The metadata files of some directories, earlier ones first where an id is in several.

    The directories are the truth: each question looks at the names and times of the files, and reads only
    those that are new or changed, so what other processes write and delete is seen at once.
    """

    def __init__(self, *directories: Path) -> None:
        self._directories = directories
        self._lock = Lock()
        self._files: dict[Path, tuple[_Signature, ArtifactMetadata | None]] = {}
        self._by_run: dict[str, set[Path]] = {}

    def of_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts, oldest first. Damaged files are left out (and reported)."""
        return self.of_runs([run_id])

    def of_runs(self, run_ids: Iterable[str]) -> list[ArtifactMetadata]:
        """The same of several runs, at the cost of one look at the directories."""
        with self._lock:
            present = self._refresh()
            paths = [path for run_id in run_ids for path in self._by_run.get(run_id, ())]
            found = [self._files[path][1] for path in paths if present[path.name] == path]
        readable = [metadata for metadata in found if metadata is not None]
        return sorted(readable, key=lambda metadata: (metadata.created_at, metadata.artifact_id))

    def everything(self) -> tuple[list[ArtifactMetadata], list[str]]:
        """All artifacts, and the ids of those whose metadata can't be read."""
        readable, damaged = [], []
        with self._lock:
            for name, path in self._refresh().items():
                metadata = self._files[path][1]
                if metadata is None:
                    damaged.append(name.removesuffix(_SUFFIX))
                else:
                    readable.append(metadata)
        return readable, damaged

    def _refresh(self) -> dict[str, Path]:
        """Bring the index up to date; the file that counts by name."""
        present: dict[str, Path] = {}
        seen: set[Path] = set()
        for directory in self._directories:
            for path, signature in _metadata_files(directory):
                seen.add(path)
                present.setdefault(path.name, path)
                known = self._files.get(path)
                if known is None or known[0] != signature:
                    self._read(path, signature)
        for path in self._files.keys() - seen:
            self._forget(path)
        return {name: path for name, path in present.items() if path in self._files}

    def _read(self, path: Path, signature: _Signature) -> None:
        self._forget(path)
        try:
            metadata = read_metadata(path)
            if metadata is None:  # deleted meanwhile
                return
        except (CorruptArtifactError, OSError, ValueError) as exc:
            logger.warning("artifact metadata %s is left out: %s", path, exc)
            metadata = None
        self._files[path] = (signature, metadata)
        if metadata is not None and metadata.run_id is not None:
            self._by_run.setdefault(metadata.run_id, set()).add(path)

    def _forget(self, path: Path) -> None:
        known = self._files.pop(path, None)
        if known is None or known[1] is None or known[1].run_id is None:
            return
        of_run = self._by_run[known[1].run_id]
        of_run.discard(path)
        if not of_run:
            del self._by_run[known[1].run_id]


def _metadata_files(directory: Path) -> list[tuple[Path, _Signature]]:
    found = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(_SUFFIX):
                continue
            try:
                stat = entry.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            found.append((directory / entry.name, (stat.st_mtime_ns, stat.st_size, stat.st_ino)))
    return found
