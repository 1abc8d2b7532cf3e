"""Runs and ledgers as plain files that people can read (`spec/02 §5`).

Several threads and processes may share a directory, and all file stores may share one. Files are readable
by their owner only.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.waiters import event_keys_of

from .base import DEFAULT_LIMIT, RunStore
from .driver_locks import driver_locks
from .due_runs import DueRun, due_page
from .file_names import checked_id, is_file_id
from .jsonl_ledger import JsonlLedgerStore
from .replaced_files import content_version, make_private_dir, put_in_place, sync_dir, written_beside
from .run_files import id_in_name, name_of, read_run, run_text
from .run_files_index import OWN_FIELDS, Row, RunFilesIndex, file_row
from .run_index import due_time, index_limit, index_row, stripped, wanted_rows
from .run_status import with_status_member
from .run_trees import RunMark, RunTrees, check_ended, oldest_roots, trees_of

__all__ = ["JsonFileRunStore", "JsonlLedgerStore"]

logger = logging.getLogger(__name__)


class _LockDomain:
    """Shared by all stores of this process over one directory; its leases of runs by all processes."""

    def __init__(self, base_dir: Path) -> None:
        self.drivers = driver_locks(base_dir / ".drivers.lock")


_domains: WeakValueDictionary[str, _LockDomain] = WeakValueDictionary()


class JsonFileRunStore(RunStore):
    """One file ``run_<run_id>.json`` per run. Also a `QueryableRunStore` and `QueryableRunIndexStore`.

    Args:
        base_dir: made (with parents) if it is missing; ``~`` is not expanded.
        fsync: True makes every save survive a power cut, at the cost of a disk flush each. By default a
            save survives the death of the process.
    """

    def __init__(self, base_dir: str | Path, *, fsync: bool = False) -> None:
        self._dir = Path(base_dir)
        self._fsync = fsync
        make_private_dir(self._dir)
        self._prefix = os.path.join(self._dir, "")  # text: a step does without `Path`
        self._index = RunFilesIndex(self._dir)
        self.lock_domain: object = _domains.setdefault(os.path.realpath(self._dir), _LockDomain(self._dir))
        self._scanned: dict[str, set[str]] | None = None

    def save(self, run: RunState) -> None:
        """Replace the run's file at once; on any failure the old one stays.

        Raises:
            InvalidInputError: the id can't be part of a file name, the status is none, or the run contains
                itself.
            TypeError: the run holds something that has no JSON form.
        """
        self._replace(run, None)

    def swap(self, run: RunState, *, before: RunState, version: int) -> int | None:
        """`save` if the stored checkpoint still has this `version_of`; the new version, else ``None``."""
        return self._replace(run, version)

    def _replace(self, run: RunState, expected: int | None) -> int | None:
        if run.status.__class__ is not RunStatus:
            run = with_status_member(run)
        run_id = checked_id(run.run_id, "run_id")
        path = self._path(run_id)
        temporary: str | None = written_beside(path, run_text(run), fsync=self._fsync)

        def write() -> int | None:
            nonlocal temporary
            if temporary is None:
                return None
            version = put_in_place(temporary, path, fsync=self._fsync, expected=expected)
            if version is not None:
                temporary = None
            return version

        try:
            return self._index.save(run_id, write, file_row(run))
        finally:
            if temporary is not None:
                os.unlink(temporary)

    def _path(self, run_id: str) -> str:
        return f"{self._prefix}{name_of(run_id)}"

    def load(self, run_id: str) -> RunState | None:
        """A fresh object; ``None`` when there is no such run, or its file can't be read or holds no JSON
        (the log tells).

        Raises:
            CorruptCheckpointError: the file holds something else than a run.
        """
        return read_run(self._dir / name_of(run_id)) if run_id and is_file_id(run_id) else None

    def version_of(self, run_id: str) -> int:
        """Grows with every save of the run, by any process; 0 when it is unknown."""
        return content_version(self._path(run_id)) if is_file_id(run_id) else 0

    def delete(self, run_id: str, *, force: bool = False) -> bool:
        """See `run_trees.PurgeableRunStore.delete`. ``force`` also removes a file that holds no run.

        Raises:
            CorruptCheckpointError: (without ``force``) the file holds something else than a run.
        """
        if not self.version_of(run_id):
            return False
        path = self._dir / name_of(run_id)
        removed = False

        def remove() -> int | None:
            nonlocal removed
            run = None if force else read_run(path)
            if run is not None:
                check_ended(run_id, run.status)
            if run is None and not force:
                return content_version(path)
            removed = path.exists()
            path.unlink(missing_ok=True)
            if self._fsync:
                sync_dir(self._dir)
            return 0

        self._index.save(run_id, remove, None)
        return removed

    def list_oldest_roots(
        self, *, status: RunStatus, updated_before: str, after: RunMark | None = None, limit: int = 100
    ) -> list[RunMark]:
        """See `run_trees.PurgeableRunStore.list_oldest_roots`."""
        rows = [row for _, row in self._index.rows()]
        return oldest_roots(rows, status=status, updated_before=updated_before, after=after, limit=limit)

    def list_trees(self, root_ids: Sequence[str]) -> RunTrees:
        """See `run_trees.PurgeableRunStore.list_trees`."""
        return trees_of((row for _, row in self._index.rows()), root_ids)

    # --- queries ------------------------------------------------------------------------------------

    def list_runs(
        self,
        *,
        status: RunStatus | None = None,
        wait_reason: WaitReason | None = None,
        workflow_id: str | None = None,
        limit: int = DEFAULT_LIMIT,
    ) -> list[RunState]:
        """See `QueryableRunStore.list_runs`."""

        def matches(row: Row) -> bool:
            if status is not None and row["status"] != status:
                return False
            if wait_reason is not None and row["wait_reason"] != wait_reason:
                return False
            return workflow_id is None or row["workflow_id"] == workflow_id

        wanted = wanted_rows(limit)
        return self._loaded(self._newest_first(matches), lambda run: matches(index_row(run)), wanted)

    def list_due_wait_until(self, *, now_iso: str, limit: int = DEFAULT_LIMIT) -> list[RunState]:
        """See `QueryableRunStore.list_due_wait_until`."""
        now = now_iso.strip()

        def is_due(run: RunState) -> bool:
            until = due_time(run)
            return until is not None and until <= now

        return self._loaded(self._index.due(now), is_due, wanted_rows(limit))

    def list_due(
        self, *, now_iso: str, after: DueRun | None = None, limit: int = DEFAULT_LIMIT
    ) -> list[DueRun]:
        """See `due_runs.DueRunStore.list_due`."""
        return due_page(self._index.wakes(), now_iso, after, limit)

    def list_waiting_on(self, *, wait_keys: Iterable[str]) -> list[RunState]:
        """All runs that wait for an event with one of these keys, newest update first."""
        wanted = set(wait_keys)
        candidates = self._index.waiting_on(wanted)
        found = self._loaded(
            candidates, lambda run: not wanted.isdisjoint(event_keys_of(run)), len(candidates)
        )
        return sorted(found, key=lambda run: (run.updated_at or "", run.run_id), reverse=True)

    def list_wait_keys(self, *, prefix: str) -> list[str]:
        """All event keys with this beginning that some run waits for."""
        known = self._index.wait_keys(prefix)
        if known is not None:
            return known
        waiting = self.list_runs(status=RunStatus.WAITING, wait_reason=WaitReason.EVENT, limit=sys.maxsize)
        keys = dict.fromkeys(key for run in waiting for key in event_keys_of(run))
        return [key for key in keys if key.startswith(prefix)]

    def list_children(self, *, parent_run_id: str, status: RunStatus | None = None) -> list[RunState]:
        """See `QueryableRunStore.list_children`. The first call reads all runs once."""
        if not parent_run_id.strip():
            return []
        if self._scanned is None:
            self._scanned = {}
            for run in self._iter_all_runs():
                if run.parent_run_id:
                    self._scanned.setdefault(run.parent_run_id, set()).add(run.run_id)
        file_ids = self._index.children(parent_run_id) | self._scanned.get(parent_run_id, set())

        def matches(run: RunState) -> bool:
            return run.parent_run_id == parent_run_id and (status is None or run.status == status)

        children = self._loaded(file_ids, matches, len(file_ids))
        children.sort(key=lambda run: (run.created_at or "", run.run_id))
        return children

    def list_run_index(
        self,
        *,
        status: RunStatus | None = None,
        workflow_id: str | None = None,
        session_id: str | None = None,
        root_only: bool = False,
        limit: int = DEFAULT_LIMIT,
    ) -> list[dict[str, Any]]:
        """See `QueryableRunIndexStore.list_run_index`."""
        session = stripped(session_id)

        def matches(row: Row) -> bool:
            if status is not None and row["status"] != status:
                return False
            if workflow_id is not None and row["workflow_id"] != workflow_id:
                return False
            if root_only and row["parent_run_id"]:
                return False
            return session is None or row["session_id"] == session

        found: list[Row] = []
        for file_id in self._newest_first(matches):
            row = self._index.current(file_id)
            if row is not None and matches(row):
                found.append({name: value for name, value in row.items() if name not in OWN_FIELDS})
                if len(found) == index_limit(limit):
                    break
        return found

    def _newest_first(self, matches: Callable[[Row], bool]) -> list[str]:
        rows = [(row["updated_at"] or "", row["run_id"], i) for i, row in self._index.rows() if matches(row)]
        return [file_id for _, _, file_id in sorted(rows, reverse=True)]

    def _loaded(
        self, file_ids: Iterable[str], matches: Callable[[RunState], bool], limit: int
    ) -> list[RunState]:
        """The runs of these files in this order: as they are now, if they still match."""
        found: list[RunState] = []
        for run in self._readable(file_ids) if limit else ():
            if matches(run):
                found.append(run)
                if len(found) == limit:
                    break
        return found

    def _readable(self, file_ids: Iterable[str]) -> Iterator[RunState]:
        """One damaged file must not hide the others; it is reported, and `load` raises."""
        for file_id in file_ids:
            try:
                run = read_run(self._dir / name_of(file_id))
            except CorruptCheckpointError as exc:
                logger.warning("left out of a listing: %s", exc)
                continue
            if run is not None:
                yield run

    def _iter_all_runs(self) -> list[RunState]:
        """Every run that can be loaded, from the files themselves."""
        names = sorted(os.listdir(self._dir))
        return list(self._readable(i for i in map(id_in_name, names) if i is not None))
