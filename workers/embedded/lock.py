"""One fleet per folder: an advisory lock that ends with its holder, however that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .errors import EmbeddedFleetError

if sys.platform != "win32":
    import fcntl

__all__ = ["FolderLock"]


class FolderLock:
    """An exclusive lock on ``fleet.lock`` in a folder; the file says who holds it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            EmbeddedFleetError: another process holds it.
        """
        if sys.platform == "win32":
            raise EmbeddedFleetError("The embedded fleet does not run on Windows; use WSL, or a fleet.")
        # Not inheritable (PEP 446): a child that outlives us for a moment must not keep the folder locked.
        descriptor = os.open(self._folder / "fleet.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise EmbeddedFleetError(
                f"A fleet (pid {holder}) already runs in {self._folder}. "
                "Stop it, or choose another folder with --directory."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; no-op without it."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
