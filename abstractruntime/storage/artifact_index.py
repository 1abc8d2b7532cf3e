"""Which artifacts belong to which run, without reading every metadata file for every question."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock

from .artifact_base import ArtifactMetadata, CorruptArtifactError
from .artifact_meta import read_metadata

__all__ = ["ArtifactIndex"]

logger = logging.getLogger(__name__)

_SUFFIX = ".meta"
_Signature = tuple[int, int, int]
_Key = str
"""A file's path as text: a look at a directory of thousands makes no path objects."""


class ArtifactIndex:
    """The metadata files of some directories, earlier ones first where an id is in several.

    The directories are the truth: each question looks at the names and times of the files, and reads only
    those that are new or changed, so what other processes write and delete is seen at once.
    """

    def __init__(self, *directories: Path) -> None:
        self._directories = [str(directory) for directory in directories]
        self._lock = Lock()
        self._files: dict[_Key, tuple[_Signature, ArtifactMetadata | None]] = {}
        self._by_run: dict[str, set[_Key]] = {}

    def of_run(self, run_id: str) -> list[ArtifactMetadata]:
        """The run's artifacts, oldest first. Damaged files are left out (and reported)."""
        return self.of_runs([run_id])

    def of_runs(self, run_ids: Iterable[str]) -> list[ArtifactMetadata]:
        """The same of several runs, at the cost of one look at the directories."""
        with self._lock:
            present = self._refresh()
            keys = [key for run_id in run_ids for key in self._by_run.get(run_id, ())]
            found = [self._files[key][1] for key in keys if present[os.path.basename(key)] == key]
        readable = [metadata for metadata in found if metadata is not None]
        return sorted(readable, key=lambda metadata: (metadata.created_at, metadata.artifact_id))

    def everything(self) -> tuple[list[ArtifactMetadata], list[str]]:
        """All artifacts, and the ids of those whose metadata can't be read."""
        readable, damaged = [], []
        with self._lock:
            for name, key in self._refresh().items():
                metadata = self._files[key][1]
                if metadata is None:
                    damaged.append(name.removesuffix(_SUFFIX))
                else:
                    readable.append(metadata)
        return readable, damaged

    def _refresh(self) -> dict[str, _Key]:
        """Bring the index up to date; the file that counts by name."""
        present: dict[str, _Key] = {}
        seen: set[_Key] = set()
        known = self._files
        for directory in self._directories:
            for name, key, signature in _metadata_files(directory):
                earlier = known.get(key)
                if earlier is None or earlier[0] != signature:
                    self._read(key, signature)
                    if key not in known:  # deleted meanwhile
                        continue
                seen.add(key)
                if name not in present:
                    present[name] = key
        for key in known.keys() - seen:
            self._forget(key)
        return present

    def _read(self, key: _Key, signature: _Signature) -> None:
        self._forget(key)
        try:
            metadata = read_metadata(Path(key))
            if metadata is None:  # deleted meanwhile
                return
        except (CorruptArtifactError, OSError, ValueError) as exc:
            logger.warning("artifact metadata %s is left out: %s", key, exc)
            metadata = None
        self._files[key] = (signature, metadata)
        if metadata is not None and metadata.run_id is not None:
            self._by_run.setdefault(metadata.run_id, set()).add(key)

    def _forget(self, key: _Key) -> None:
        known = self._files.pop(key, None)
        if known is None or known[1] is None or known[1].run_id is None:
            return
        of_run = self._by_run[known[1].run_id]
        of_run.discard(key)
        if not of_run:
            del self._by_run[known[1].run_id]


def _metadata_files(directory: str) -> Iterator[tuple[str, _Key, _Signature]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            if not entry.name.endswith(_SUFFIX):
                continue
            try:
                stat = entry.stat()
            except FileNotFoundError:  # deleted meanwhile
                continue
            yield entry.name, entry.path, (stat.st_mtime_ns, stat.st_size, stat.st_ino)
