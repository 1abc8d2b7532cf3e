"""Whole files replaced at once: readers see the old content or the new one, never a part.

Files are readable by their owner only, because they hold prompts and results (`spec/02 §15.4`, U-3).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "content_version",
    "make_private_dir",
    "put_in_place",
    "replacement",
    "sync_dir",
    "write_whole",
    "written_beside",
]


def make_private_dir(path: Path) -> None:
    """Create the directory with its parents if it is missing; what is created is the owner's alone."""
    if not path.is_dir():
        make_private_dir(path.parent)  # `mkdir` would give the parents the default permissions
        path.mkdir(mode=0o700, exist_ok=True)


@contextmanager
def replacement(path: Path, data: bytes, *, fsync: bool = False) -> Iterator[Path]:
    """A file ``<name>.<32 hex>.tmp`` beside ``path`` with the new content; gone afterwards, unless it was
    renamed."""
    temporary = Path(written_beside(str(path), data, fsync=fsync))
    try:
        yield temporary
    finally:
        with suppress(FileNotFoundError):  # renamed: the usual end
            temporary.unlink()


def written_beside(path: str, data: bytes, *, fsync: bool = False) -> str:
    """The name ``<path>.<32 hex>.tmp`` of a new file with this content; the caller renames or removes it."""
    temporary = f"{path}.{os.urandom(16).hex()}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left) :]
        if fsync:
            os.fsync(fd)
    except BaseException:
        os.close(fd)
        os.unlink(temporary)
        raise
    os.close(fd)
    return temporary


def write_whole(path: Path, data: bytes) -> None:
    """Replace the file; the new content is on disk on return. On any failure the old file stays."""
    with replacement(path, data, fsync=True) as temporary:
        os.replace(temporary, path)
    sync_dir(path.parent)


def put_in_place(
    temporary: str | Path, path: str | Path, *, fsync: bool = False, expected: int | None = None
) -> int | None:
    """Rename over ``path``; the `content_version` it has then. ``None`` (and nothing is done) if it is not
    ``expected`` before.

    The modification time is made to grow with every replacement, so it can't be the same for two contents
    written within one tick of the file system's clock. The caller holds a lock among all writers.
    """
    status = _status(path)
    if expected is not None and _version(status) != expected:
        return None
    newest = 0 if status is None else status.st_mtime_ns
    stamp = max(time.time_ns(), newest + 1)
    os.utime(temporary, ns=(stamp, stamp))
    version = content_version(temporary)
    os.replace(temporary, path)
    if fsync:
        sync_dir(os.path.dirname(path) or os.curdir)
    return version


def content_version(path: str | Path) -> int:
    """A number that every replacement makes larger; 0 if there is no such file.

    Inode and size tell files apart that were put there by other means.
    """
    return _version(_status(path))


def _status(path: str | Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _version(status: os.stat_result | None) -> int:
    if status is None:
        return 0
    file = (status.st_ino & (1 << 64) - 1) << 32 | status.st_size & (1 << 32) - 1
    return status.st_mtime_ns << 96 | file


def sync_dir(path: str | Path) -> None:
    """Make renames in this directory survive a power cut (where directories can be synced)."""
    if os.name == "nt":
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
