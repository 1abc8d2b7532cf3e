"""Files that are there completely or not at all, also after a crash or a power cut."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

__all__ = ["make_private_dir", "write_whole"]

_PRIVATE_DIR = 0o700
_PRIVATE_FILE = 0o600


def make_private_dir(path: Path) -> None:
    """The directory with its parents; what is made anew is the owner's only (it will hold prompts)."""
    path.mkdir(mode=_PRIVATE_DIR, parents=True, exist_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file: readers see the old content or the new, and the new one is on disk on return.

    On any failure the old file stays and nothing is left behind. Readable by the owner only.
    """
    temporary = path.with_name(f"{path.name}.{uuid4().hex}.tmp")
    try:
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    """The new name must survive a power cut as well; Windows can't open directories and need not."""
    if os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
