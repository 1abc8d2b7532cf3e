"""Opening a file whose path was judged, so that it is that file (`spec/04 §16.27`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

__all__ = ["open_unfollowed"]

_CAN_WALK = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW") and hasattr(os, "O_DIRECTORY")


def open_unfollowed(path: Path) -> BinaryIO:
    """Open an absolute path for reading without following a symlink in any part of it.

    The policy has judged the path with its links resolved, so a link in it was put there since. Each part is
    opened relative to the folder before it; where the system can't do that, the file is just opened.

    Raises:
        OSError: it can't be opened, or a part of it is a link.
    """
    if not _CAN_WALK:
        return path.open("rb")
    folder = os.open(path.anchor, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in path.parts[1:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        return os.fdopen(descriptor, "rb")
    except OSError:  # a folder
        os.close(descriptor)
        raise
