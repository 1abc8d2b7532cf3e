"""Files of JSON lines that only grow, shared by threads and processes (`spec/02 §15.2` D-1, §15.3 S-4).

A record is one write under the file's lock. A writer that died in the middle of one leaves a last line
without its newline; nobody was told that record is stored, so the next writer cuts it off and readers leave
it out.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .file_locks import open_locked, unlock_file
from .json_text import decode
from .replaced_files import sync_dir

__all__ = ["LineFile", "lines_of", "object_of", "reading", "writing"]

logger = logging.getLogger(__name__)

_CHUNK = 1 << 16

if sys.platform == "win32":

    def _read_at(fd: int, size: int, start: int) -> bytes:
        os.lseek(fd, start, os.SEEK_SET)
        return os.read(fd, size)

else:
    _read_at = os.pread


class LineFile:
    """An open file of lines under its lock, until its context ends.

    Attributes:
        identity: changes when another file takes the name.
        end: where the last whole record ends.
        is_torn: something that is no record follows after ``end``.
    """

    __slots__ = ("_fd", "_lacks_newline", "_path", "_size", "end", "identity", "is_torn")

    def __init__(self, fd: int, status: os.stat_result, path: str | Path) -> None:
        self._fd = fd
        self._path = path
        self.identity = (status.st_dev, status.st_ino)
        self._size = self.end = status.st_size
        self.is_torn = False
        self._lacks_newline = self._size > 0 and _read_at(fd, 1, self._size - 1) != b"\n"
        if self._lacks_newline:
            start = self._line_start(self._size)
            # A whole record whose newline is missing was written by somebody else's tool: it counts.
            if object_of(self.read(start, self._size)) is None:
                self.end, self.is_torn = start, True

    def __enter__(self) -> LineFile:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        try:
            unlock_file(self._fd)
        finally:
            os.close(self._fd)

    def read(self, start: int, end: int) -> bytes:
        """The bytes from ``start`` up to ``end``."""
        parts = []
        while start < end and (part := _read_at(self._fd, end - start, start)):
            parts.append(part)
            start += len(part)
        return b"".join(parts)

    def last_line(self) -> bytes:
        """The last whole record, empty if there is none; only the end of the file is read."""
        end = self.end
        while end:
            start = self._line_start(end)
            if line := self.read(start, end).strip():
                return line
            end = start
        return b""

    def mend(self) -> None:
        """Make the file end with a whole line, so that the next record stands on its own."""
        if self.is_torn:
            logger.warning(
                "%s: cut off %d bytes of a record whose writer died", self._path, self._size - self.end
            )
            os.ftruncate(self._fd, self.end)
            self._size, self.is_torn = self.end, False
        elif self._lacks_newline:
            self.append(b"\n")
        self._lacks_newline = False

    def append(self, data: bytes, *, fsync: bool = False) -> int:
        """Write whole lines at the end, all or nothing; where they start."""
        start = self._size
        try:
            written = os.write(self._fd, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
            if fsync:
                os.fsync(self._fd)
                if not start:  # perhaps a new file: its name must survive as well
                    sync_dir(os.path.dirname(self._path) or os.curdir)
        except BaseException:
            os.ftruncate(self._fd, start)
            raise
        self._size = self.end = start + written
        return start

    def _line_start(self, end: int) -> int:
        """Where the line begins that ends at ``end``, with its newline or without."""
        if end and self.read(end - 1, end) == b"\n":
            end -= 1
        while end > 0:
            start = max(0, end - _CHUNK)
            found = self.read(start, end).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
        return 0


def writing(path: str | Path) -> LineFile:
    """The file (made if it is missing, readable by its owner only), nobody else in it, its tail mended. To be
    used as a context."""
    file = _opened(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
    try:
        file.mend()
    except BaseException:
        file.close()
        raise
    return file


@contextmanager
def reading(path: str | Path) -> Iterator[LineFile | None]:
    """The file while nobody writes to it, or ``None`` if there is none."""
    try:
        file = _opened(path, os.O_RDONLY, shared=True)
    except FileNotFoundError:
        yield None
        return
    with file:
        yield file


def _opened(path: str | Path, flags: int, *, shared: bool = False) -> LineFile:
    fd, status = open_locked(path, flags, shared=shared)
    try:
        return LineFile(fd, status, path)
    except BaseException:
        unlock_file(fd)
        os.close(fd)
        raise


def lines_of(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, each with its position in the file; ``data`` was read at ``start``."""
    for line in data.split(b"\n"):
        if line.strip():
            yield start, line
        start += len(line) + 1


def object_of(line: bytes) -> dict[str, object] | None:
    """The JSON object on a line, or ``None`` if it holds none."""
    try:
        value = decode(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
