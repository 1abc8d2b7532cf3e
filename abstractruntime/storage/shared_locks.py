"""Locks among threads and processes that the holder may take again, one per lock file and process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock, RLock
from weakref import WeakValueDictionary

from .file_locks import open_locked, unlock_file

__all__ = ["STORES_LOCK", "SharedLock", "shared_lock"]

STORES_LOCK = ".stores.lock"
"""The lock file of all run and ledger stores of a directory: with one each, two could be taken in either
order, which would be a deadlock."""


class SharedLock:
    """Get it from `shared_lock`: two objects for one file would wait for each other in one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._threads = RLock()
        self._depth = 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody else holds the lock meanwhile. The system frees it when the process dies."""
        with self._threads:
            fd = None if self._depth else open_locked(self._path, os.O_RDWR | os.O_CREAT)[0]
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if fd is not None:
                    unlock_file(fd)
                    os.close(fd)


_guard = Lock()
_locks: WeakValueDictionary[str, SharedLock] = WeakValueDictionary()


def shared_lock(path: Path) -> SharedLock:
    """This process's lock on this file, which is made at first use."""
    name = os.path.realpath(path)
    with _guard:
        lock = _locks.get(name)
        if lock is None:
            lock = _locks[name] = SharedLock(Path(name))
        return lock
