"""A lock among processes, held on a file: many may share it, or one may have it alone."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["locked"]

if sys.platform == "win32":
    import msvcrt

    def _acquire(handle: int, alone: bool) -> None:
        # Windows has no shared mode here: sharers take turns, which is slower and just as safe.
        while True:
            try:
                msvcrt.locking(handle, msvcrt.LK_LOCK, 1)
                return
            except OSError:  # LK_LOCK gives up after ten tries
                continue

else:
    import fcntl

    def _acquire(handle: int, alone: bool) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)


@contextmanager
def locked(path: Path, *, alone: bool) -> Iterator[None]:
    """Hold the lock of this file, which is created; the system frees it when the process dies.

    Each call opens the file anew, so threads of one process exclude each other as processes do.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        _acquire(handle, alone)
        yield
    finally:
        os.close(handle)
