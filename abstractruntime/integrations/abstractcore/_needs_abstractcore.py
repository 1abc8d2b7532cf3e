"""Where AbstractCore is imported, and what is said where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["needs_abstractcore"]


@contextmanager
def needs_abstractcore() -> Iterator[None]:
    """Wrap an import of AbstractCore in it.

    Raises:
        ImportError: it is not installed; the message says how to mend that. What is missing *in* an installed
            AbstractCore is said as AbstractCore says it.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "abstractcore":
            raise
        raise ImportError(
            'AbstractCore is not installed: pip install "abstractruntime[abstractcore]"', name=exc.name
        ) from exc
