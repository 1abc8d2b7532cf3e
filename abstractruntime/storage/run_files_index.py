"""What the runs of a directory look like, without opening their files (`spec/02 §15.1`, P-4).

The index is a log beside the files, shared by all stores over the directory: a save notes that it begins
(``{"saving": id}``) and what it wrote (``{"id", "version", "row"}``). Its lock is the writers' lock. Each
reader remembers how far it has read. A begin without an end is a run at work, whose steps note nothing
more, or a writer that died: if its file is not the one that is known, it is read again.

What others write without the index (an editor, another program) is found as well (`spec/02 §15.3`, S-6):
new names when the directory has changed; known files by their version, all of them at first use and when the
directory has changed though nobody noted a write, else a bounded number per query, in turn. So the log may be
lost or deleted at any time.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import RLock
from typing import Any

from abstractruntime.core.errors import CorruptCheckpointError
from abstractruntime.core.models import RunState, RunStatus, WaitReason
from abstractruntime.core.waiters import event_keys_of

from .due_runs import DueRun, wake_time
from .json_text import encode
from .line_files import LineFile, lines_of, object_of, writing
from .replaced_files import content_version, replacement
from .run_files import id_in_name, name_of, read_run
from .run_index import index_row
from .wait_index import WaitIndex

__all__ = ["OWN_FIELDS", "Row", "RunFilesIndex", "file_row"]

logger = logging.getLogger(__name__)

Row = dict[str, Any]
"""A row of `list_run_index`, and in ``wakes`` when a scheduler has to look at the run, in ``waits`` the keys
of the events it waits for."""

_RUNNING = RunStatus.RUNNING.value

OWN_FIELDS = frozenset({"wakes", "waits"})
"""What `list_run_index` does not show."""

_UNKNOWN = ""
"""Stands for the keys of a run that waits for an event and whose row was noted without them."""

_NOT_THERE: tuple[int, Row | None] = (0, None)
"""What is known of a run that has no file."""

_NAME = ".runs_index"
"""Not named like the files people look for: a search for ``*.jsonl`` finds ledgers only."""
_SPARE_LINES = 1000
_CLOCK_TICK_NS = 50_000_000
"""More than the granularity of file times: a directory that changed less than this ago may change again
without showing it."""

_SMALL_DIR = 500
"""Larger directories that change all the time are listed again for a twentieth of the time at most."""

_COMPARED_AT_ONCE = 500
"""So many files of known runs does a query look at (about 2 ms): in most directories all, in larger ones the
next ones in turn."""


def file_row(run: RunState) -> Row:
    """The run's row."""
    row = index_row(run)
    row["wakes"], row["waits"] = (None, []) if run.waiting is None else (wake_time(run), event_keys_of(run))
    return row


def _is_the_same_at_work(before: Row | None, after: Row) -> bool:
    """Whether a run was at work before as well, so that it is in none of the indexes but its parent's."""
    return (
        before is not None
        and before.get("status") == _RUNNING
        and before.get("wait_reason") is after["wait_reason"] is None
        and before.get("parent_run_id") == after["parent_run_id"]
    )


class RunFilesIndex:
    """The index of one directory, as one store object knows it. Safe to share among threads."""

    def __init__(self, base_dir: Path) -> None:
        self._dir = base_dir
        self._path = base_dir / _NAME
        self._name = str(self._path)  # a step does without `Path`
        self._prefix = os.path.join(base_dir, "")
        self._guard = RLock()
        self._forget()

    def _forget(self) -> None:
        self._identity: tuple[int, int] | None = None
        self._end = 0
        self._lines = 0
        self._known: dict[str, tuple[int, Row | None]] = {}
        self._due: dict[str, str] = {}
        self._wakes: dict[str, DueRun] = {}
        self._children: dict[str, set[str]] = {}
        self._waits = WaitIndex()
        self._saving: dict[str, None] = {}
        self._compared = False
        self._in_turn: list[str] = []
        self._noted = True
        self._dir_seen = 0
        self._rest_until = 0.0

    # --- writing ------------------------------------------------------------------------------------

    def save(self, file_id: str, write: Callable[[], int | None], row: Row | None) -> int | None:
        """Let ``write`` replace (or remove) the run's file, alone among all writers; it returns the file's
        version, 0 if there is none, ``None`` if it has left everything as it was. So does this."""
        with self._guard, self._log() as log:
            self._noted = True
            known = self._known.get(file_id)
            if file_id not in self._saving:
                begun = {"saving": file_id}
                self._note(log, begun)
                self._apply(begun)  # should ``write`` fail half-way, the next look reads the file again
            version = write()
            if version is None:
                return None
            if row is not None and row["status"] == _RUNNING and known is not None:
                # It will be saved again soon: the begin stays open.
                if _is_the_same_at_work(known[1], row):
                    self._known[file_id] = version, row
                else:
                    self._take(file_id, version, row)
            else:
                self._settle(log, file_id, version, row)
            return version

    def _settle(self, log: LineFile, file_id: str, version: int, row: Row | None) -> None:
        entry = {"id": file_id, "version": version, "row": row}
        self._apply(entry)
        try:
            self._note(log, entry)
        except OSError as exc:
            # The checkpoint is in place, so the save has succeeded; whoever opens the index next finds the
            # begin without an end and reads the file.
            logger.warning("%s: run '%s' not noted, will be read again: %s", self._path, file_id, exc)

    def _note(self, log: LineFile, entry: dict[str, Any]) -> None:
        log.append(encode(entry, "an index entry").encode() + b"\n")
        self._end = log.end
        self._lines += 1

    @contextmanager
    def _log(self) -> Iterator[LineFile]:
        """The log under its lock, everything in it applied."""
        with writing(self._name) as log:
            self._catch_up(log)
            yield log
            if self._lines > 3 * len(self._known) + _SPARE_LINES:
                self._compact()

    def _compact(self) -> None:
        """Last under the lock: from here on the name is another file's, with another lock."""
        entries: list[dict[str, Any]] = [
            {"id": i, "version": version, "row": row} for i, (version, row) in self._known.items()
        ]
        entries += [{"saving": file_id} for file_id in self._saving]
        text = "".join(encode(entry, "an index entry") + "\n" for entry in entries)
        with replacement(self._path, text.encode()) as temporary:
            status = os.stat(temporary)
            os.replace(temporary, self._path)
        self._identity, self._end = (status.st_dev, status.st_ino), status.st_size
        self._lines = len(entries)

    # --- catching up --------------------------------------------------------------------------------

    def _catch_up(self, log: LineFile) -> None:
        if log.identity != self._identity or log.end < self._end:
            self._forget()
            self._identity = log.identity
        if log.end > self._end:
            self._noted = True
            for _, line in lines_of(log.read(self._end, log.end), self._end):
                self._apply(object_of(line) or {})
                self._lines += 1
            self._end = log.end

    def _apply(self, entry: dict[str, Any]) -> None:
        begun, file_id = entry.get("saving"), entry.get("id")
        if isinstance(begun, str):
            self._saving[begun] = None
        if not isinstance(file_id, str):
            return
        self._saving.pop(file_id, None)
        version, row = entry.get("version"), entry.get("row")
        if not isinstance(version, int):
            version = 0
        self._take(file_id, version, row if isinstance(row, dict) else None)

    def _take(self, file_id: str, version: int, row: Row | None) -> None:
        self._drop(file_id)
        if not version:
            return
        self._known[file_id] = (version, row)
        if row is None:
            return
        if row.get("status") == RunStatus.WAITING.value and row.get("wait_until"):
            self._due[file_id] = row["wait_until"]
        if row.get("wakes") is not None:
            self._wakes[file_id] = DueRun(row["wakes"], row["run_id"], row["workflow_id"])
        if row.get("wait_reason") == WaitReason.EVENT.value:
            self._waits.put(file_id, row.get("waits", (_UNKNOWN,)))
        if row.get("parent_run_id"):
            self._children.setdefault(row["parent_run_id"], set()).add(file_id)

    def _drop(self, file_id: str) -> None:
        _, row = self._known.pop(file_id, (0, None))
        self._due.pop(file_id, None)
        self._wakes.pop(file_id, None)
        if file_id in self._waits:
            self._waits.put(file_id, ())
        parent = None if row is None else row.get("parent_run_id")
        if parent in self._children:
            self._children[parent].discard(file_id)
            if not self._children[parent]:
                del self._children[parent]

    def _read_open(self, log: LineFile) -> None:
        """Look at the runs somebody has begun to save: one at work keeps its begin open, one that died left
        it. Those that can't be at work any more are noted as they are."""
        for file_id in list(self._saving):
            known = self._known.get(file_id)
            if known is None or known[0] != content_version(self._path_of(file_id)):
                version, row = self._look(file_id)
                if row is not None and row["status"] == _RUNNING:
                    self._take(file_id, version, row)
                else:
                    self._settle(log, file_id, version, row)

    def _read_again(self, log: LineFile, file_id: str) -> None:
        self._settle(log, file_id, *self._look(file_id))

    def _look(self, file_id: str) -> tuple[int, Row | None]:
        path = self._dir / name_of(file_id)
        version = content_version(path)  # first: a change in between makes this version look old, not new
        try:
            run = read_run(path) if version else None
        except CorruptCheckpointError as exc:
            logger.warning("left out of listings: %s", exc)
            run = None
        return version, None if run is None else file_row(run)

    def _look_around(self, log: LineFile) -> None:
        """Find what was written without a note: runs at work, and files that came by other means."""
        self._read_open(log)
        changed = os.stat(self._dir).st_mtime_ns
        if self._compared and (changed == self._dir_seen or time.monotonic() < self._rest_until):
            self._read_those_changed(log, self._next_in_turn())
        else:
            self._look_at_names(log, changed)

    def _look_at_names(self, log: LineFile, changed: int) -> None:
        """List the directory, which changed at this time."""
        began = time.monotonic()
        names = os.listdir(self._dir)
        found = [file_id for file_id in map(id_in_name, names) if file_id is not None]
        if self._compared and (self._noted or self._saving):
            # Our writes, or those of other stores, have changed it: no reason to suspect every file.
            suspects = [file_id for file_id in found if file_id not in self._known]
            suspects += self._next_in_turn()
        else:
            suspects = [*found, *(self._known.keys() - set(found))]
            self._compared = True
        self._read_those_changed(log, suspects)
        if time.time_ns() - changed > _CLOCK_TICK_NS:
            self._dir_seen, self._noted = changed, False
        else:
            self._dir_seen = 0
        if len(names) > _SMALL_DIR:
            self._rest_until = 21 * time.monotonic() - 20 * began

    def _next_in_turn(self) -> list[str]:
        """The known runs whose files this query compares."""
        if len(self._known) <= _COMPARED_AT_ONCE:
            return list(self._known)
        if not self._in_turn:
            self._in_turn = list(self._known)
        share = self._in_turn[-_COMPARED_AT_ONCE:]
        del self._in_turn[-_COMPARED_AT_ONCE:]
        return share

    def _read_those_changed(self, log: LineFile, file_ids: Iterable[str]) -> None:
        for file_id in file_ids:
            if self._known.get(file_id, _NOT_THERE)[0] != content_version(self._path_of(file_id)):
                self._settle(log, file_id, *self._look(file_id))

    def _path_of(self, file_id: str) -> str:
        return f"{self._prefix}{name_of(file_id)}"

    # --- reading ------------------------------------------------------------------------------------

    def rows(self) -> list[tuple[str, Row]]:
        """All readable runs: the id their file is named after, and their row."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return [(file_id, row) for file_id, (_, row) in self._known.items() if row is not None]

    def due(self, now: str) -> list[str]:
        """File ids of runs that wait for a time not after ``now``, earliest first."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return [file_id for _, file_id in sorted((at, i) for i, at in self._due.items() if at <= now)]

    def wakes(self) -> list[DueRun]:
        """All runs that wait for a time or no longer than a time, without paused ones."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return list(self._wakes.values())

    def waiting_on(self, keys: Iterable[str]) -> list[str]:
        """File ids of runs that (may) wait for an event with one of these keys."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return self._waits.runs((*keys, _UNKNOWN))

    def wait_keys(self, prefix: str) -> list[str] | None:
        """The event keys with this beginning that some run waits for; ``None`` if some are not known."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return None if self._waits.runs((_UNKNOWN,)) else self._waits.keys(prefix)

    def children(self, parent_run_id: str) -> set[str]:
        """File ids of runs with this parent."""
        with self._guard, self._log() as log:
            self._look_around(log)
            return set(self._children.get(parent_run_id, ()))

    def current(self, file_id: str) -> Row | None:
        """The run's row, after a look whether its file is still the one it was taken from."""
        version = content_version(self._path_of(file_id))
        with self._guard:
            known = self._known.get(file_id)
            if known is None or known[0] != version:
                with self._log() as log:
                    self._read_again(log, file_id)
                known = self._known.get(file_id)
            return None if known is None else known[1]
