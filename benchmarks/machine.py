"""What the figures were taken on."""

from __future__ import annotations

import os
import platform

import psutil

__all__ = ["machine"]


def machine() -> str:
    """Cores, memory, architecture and Python, in one line."""
    memory = psutil.virtual_memory().total / 2**30
    cores, python = os.cpu_count(), platform.python_version()
    return f"{cores} cores, {memory:.0f} GiB, {platform.machine()}, Python {python}"
