"""Advisory locks on open files, among threads and processes (`spec/02 §15.3`, S-3 and S-4)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["lock_file", "locked", "open_locked", "unlock_file"]

if sys.platform == "win32":
    import msvcrt

    _FAR = 1 << 62  # Windows locks are mandatory: a byte beyond all content hinders no reader

    def lock_file(fd: int, *, shared: bool = False) -> None:
        """Wait for the lock on this open file. (Windows has no shared kind.)"""
        while True:
            os.lseek(fd, _FAR, os.SEEK_SET)
            try:
                msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
                return
            except OSError:
                time.sleep(0.005)

    def unlock_file(fd: int) -> None:
        """Give the lock back."""
        os.lseek(fd, _FAR, os.SEEK_SET)
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def lock_file(fd: int, *, shared: bool = False) -> None:
        """Wait for the lock on this open file; several may hold a ``shared`` one."""
        fcntl.flock(fd, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)

    def unlock_file(fd: int) -> None:
        """Give the lock back. Closing is not enough: a forked child may have the same open file."""
        fcntl.flock(fd, fcntl.LOCK_UN)


def open_locked(path: str | Path, flags: int, *, shared: bool = False) -> tuple[int, os.stat_result]:
    """Open (or create, readable by the owner only) and lock the file that has this name *now*: its
    descriptor, and its status under the lock.

    Whoever waits for a lock may wake up with a file that was replaced or deleted meanwhile.
    """
    while True:
        fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
        try:
            lock_file(fd, shared=shared)
            status = os.fstat(fd)
            if _is_at(status, path):
                return fd, status
            unlock_file(fd)
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)


@contextmanager
def locked(path: Path, *, alone: bool = True) -> Iterator[None]:
    """Hold the lock of this file, which is made if it is missing; the system frees it when the process dies.

    Each call opens the file anew, so threads of one process exclude each other as processes do.
    """
    fd, _ = open_locked(path, os.O_RDWR | os.O_CREAT, shared=not alone)
    try:
        yield
    finally:
        unlock_file(fd)
        os.close(fd)


def _is_at(status: os.stat_result, path: str | Path) -> bool:
    try:
        return os.path.samestat(status, os.stat(path))
    except FileNotFoundError:
        return False
