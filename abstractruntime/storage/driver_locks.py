"""Which runs are being driven, among the processes of one machine.

A driver holds a lock on one byte of a file beside the data, at a place that the run's id decides. The
system frees it the moment the process dies: a dead driver hinders nobody, a live one is never robbed, however
long its step takes. Nothing is written, and nobody has to send signs of life.

Locks of this kind belong to the process, and closing *any* descriptor of the file would drop them all
(POSIX): so a process has exactly one per file. Its threads exclude each other by other means (`RunLocks`).
"""

from __future__ import annotations

import os
import sys
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary, finalize

__all__ = ["DriverLocks", "driver_locks"]

_PLACES = 1 << 62
"""So many that two runs practically never meet at one place."""

if sys.platform == "win32":
    import msvcrt

    def _try_lock(fd: int, place: int) -> None:
        os.lseek(fd, place, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)

    def _unlock(fd: int, place: int) -> None:
        os.lseek(fd, place, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(fd: int, place: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)

    def _unlock(fd: int, place: int) -> None:
        fcntl.lockf(fd, fcntl.LOCK_UN, 1, place)


class DriverLocks:
    """Get it from `driver_locks`. The file is made at first use, readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._guard = Lock()
        self._fd: int | None = None

    def take(self, run_id: str) -> bool:
        """Whether no other process drives the run, and this one does from now on."""
        with self._guard:
            fd = self._open()
            try:
                _try_lock(fd, _place(run_id))
            except (BlockingIOError, PermissionError):  # POSIX leaves open which of them it is
                return False
        return True

    def give_back(self, run_id: str) -> None:
        """This process does not drive the run any more."""
        with self._guard:
            _unlock(self._open(), _place(run_id))

    def _open(self) -> int:
        if self._fd is None:
            self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
            finalize(self, os.close, self._fd)
        return self._fd


def _place(run_id: str) -> int:
    return int.from_bytes(blake2b(run_id.encode(), digest_size=8).digest(), "big") % _PLACES


_guard = Lock()
_files: WeakValueDictionary[str, DriverLocks] = WeakValueDictionary()


def driver_locks(path: Path) -> DriverLocks:
    """This process's locks in this file."""
    name = os.path.realpath(path)
    with _guard:
        locks = _files.get(name)
        if locks is None:
            locks = _files[name] = DriverLocks(Path(name))
        return locks
